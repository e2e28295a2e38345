"""What can be kept is kept, what changed is said, and nothing is left waiting for what is gone."""

from __future__ import annotations

from typing import Any

import pytest

from agents_app.planning.contracts import Plan
from tests.agents_app.planning.asked import (
    GONE,
    advice,
    advice_contract,
    analysis,
    analysis_contract,
    plan,
    plan_contract,
    step,
    text,
)


def salvaged(said: object, **limits: Any) -> tuple[Plan, str]:
    judged = plan_contract(**limits).salvage(text(said))
    assert judged.value is not None, judged.problems
    assert plan_contract(**limits).problems_of(judged.value) == []
    return judged.value, " | ".join(judged.notes)


def ids(kept: Plan) -> list[str]:
    return [one.id for one in kept.steps]


def test_a_plan_of_three_with_one_bad_step_runs_two() -> None:
    kept, notes = salvaged(plan(step("a"), step("b", name="ghost"), step("c")))

    assert ids(kept) == ["a", "c"]
    assert "step 'b' was left out: there is no endpoint 'ghost'" in notes
    assert "left out" in kept.reason


def test_what_waits_for_a_dropped_step_is_dropped_too_however_far() -> None:
    said = plan(
        step("d", depends_on=["c"]),
        step("c", depends_on=["b"]),
        step("b", name="payroll"),
        step("a"),
    )

    kept, notes = salvaged(said)

    assert ids(kept) == ["a"]
    assert "'c' was left out: it depends on 'b'" in notes
    assert "'d' was left out: it depends on 'c'" in notes


def test_what_waits_for_a_step_that_cannot_be_read_is_dropped() -> None:
    kept, notes = salvaged(
        plan(step("a", parameters_json="{"), step("b", depends_on=["a"]), step("c"))
    )

    assert ids(kept) == ["c"]
    assert "'b' was left out: it depends on 'a'" in notes


def test_a_dependency_on_nothing_is_dropped_and_its_step_stays() -> None:
    kept, notes = salvaged(plan(step("a", depends_on=["ghost", "a"]), step("b", depends_on=["a"])))

    assert [one.depends_on for one in kept.steps] == [(), ("a",)]
    assert "'a' no longer depends on 'ghost'" in notes
    assert "'a' no longer depends on 'a'" in notes


def test_a_ring_is_opened_where_the_first_listed_waits_for_a_later_one() -> None:
    kept, notes = salvaged(
        plan(
            step("a", depends_on=["c"]),
            step("b", depends_on=["a"]),
            step("c", depends_on=["b"]),
        )
    )

    assert [one.depends_on for one in kept.steps] == [(), ("a",), ("b",)]
    assert "'a' no longer depends on 'c': it was a ring" in notes


def test_of_two_steps_with_one_id_the_first_stays() -> None:
    kept, notes = salvaged(plan(step("a", reason="first"), step("a", reason="second")))

    assert [one.reason for one in kept.steps] == ["first"]
    assert "a second 'a' was left out" in notes


def test_of_five_hundred_steps_as_many_stay_as_are_allowed() -> None:
    kept, notes = salvaged(plan(*[step(f"s{n}") for n in range(500)]))

    assert ids(kept) == [f"s{n}" for n in range(5)]
    assert "all after the first 5 were left out" in notes


def test_what_waits_for_a_step_beyond_the_limit_is_dropped() -> None:
    kept, _ = salvaged(plan(step("s0", depends_on=["s5"]), *[step(f"s{n}") for n in range(1, 6)]))

    assert ids(kept) == ["s1", "s2", "s3", "s4"]


def test_unknown_words_become_defaults_and_numbers_are_clamped() -> None:
    said = plan(
        step("a", target="http", priority=4_000),
        strategy="mixed",
        concurrency=99,
        confidence=85,
        extra="x",
    )

    kept, notes = salvaged(said)

    assert (kept.strategy, kept.concurrency, kept.confidence) == ("sequential", 4, 1.0)
    assert (kept.steps[0].target, kept.steps[0].priority) == ("endpoint", 100)
    for words in (
        "strategy became 'sequential'",
        "steps[0].target became 'endpoint'",
        "priority of step 'a' became 100",
        "concurrency became 4",
        "confidence became 1.0",
        "extra was left out",
    ):
        assert words in notes


def test_fields_without_consequence_may_be_missing() -> None:
    said = plan(step("a", reason=GONE, priority=GONE, critical=GONE, depends_on=GONE), reason=GONE)

    kept, notes = salvaged(said)

    assert (kept.steps[0].priority, kept.steps[0].critical) == (50, False)
    assert "steps[0].depends_on became []" in notes


def test_dependencies_that_cannot_be_read_take_their_step_away() -> None:
    kept, _ = salvaged(plan(step("a"), step("b", depends_on="a"), step("c", depends_on=[1])))

    assert ids(kept) == ["a"]


def test_the_strategy_that_the_schedule_prescribes_is_set() -> None:
    kept, notes = salvaged(plan(strategy="parallel"), strategy="sequential")

    assert kept.strategy == "sequential"
    assert "strategy became 'sequential'" in notes


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no plan",
        text(plan())[:-2],
        text(plan(steps=[])),
        text(plan(steps=GONE)),
        text(plan(steps="warm")),
        text(plan(step(name="ghost"))),
        text(plan(step("a", name="ghost"), step("b", depends_on=["a"]))),
        text(plan(step(name="deploy"))),
    ],
    ids=[
        "nothing",
        "prose",
        "cut off",
        "no steps",
        "steps missing",
        "steps as text",
        "an unknown endpoint only",
        "everything waits for an unknown endpoint",
        "parameters that do not fit only",
    ],
)
def test_a_plan_with_nothing_left_is_not_salvageable(said: str) -> None:
    judged = plan_contract().salvage(said)

    assert judged.value is None
    assert judged.problems != ()


def test_a_sound_plan_is_salvaged_as_it_is() -> None:
    kept, notes = salvaged(plan())

    assert kept == plan_contract().judge(text(plan())).value
    assert notes == ""


def test_advice_keeps_its_instant_and_loses_what_cannot_be_read() -> None:
    said = advice(
        "interval", interval_ms=300_000, pause_until="later", confidence=5, reason=GONE, mood="good"
    )

    judged = advice_contract().salvage(text(said))

    assert judged.value is not None
    assert (judged.value.interval_ms, judged.value.confidence) == (300_000, 1.0)
    assert judged.value.pause_until is None
    assert len(judged.notes) == 4


def test_an_unknown_action_becomes_the_schedule_s_own_timing() -> None:
    judged = advice_contract().salvage(text(advice("reschedule", interval_ms=1_000)))

    assert judged.value is not None
    assert judged.value.action == "keep"
    assert "action became 'keep'" in judged.notes


@pytest.mark.parametrize(
    "said",
    [
        advice("next_run_at", next_run_at="2020-01-01T00:00:00Z"),
        advice("next_run_at", next_run_at="tomorrow"),
        advice("pause"),
        advice("interval", interval_ms=-1),
        advice(GONE),
    ],
    ids=["past", "in words", "a pause without end", "negative", "no action"],
)
def test_an_instant_is_never_made_up(said: dict[str, Any]) -> None:
    assert advice_contract().salvage(text(said)).value is None


def test_an_analysis_keeps_the_tools_and_parts_that_there_are() -> None:
    said = analysis(
        required_tools=["search", "drill"],
        complexity="epic",
        sub_tasks=[
            {"id": "a", "goal": "g", "depends_on": ["ghost"]},
            {"id": "b", "goal": 1, "depends_on": []},
            {"id": "c", "goal": "g", "depends_on": ["b"]},
        ],
    )

    kept = analysis_contract().salvage(text(said)).value

    assert kept is not None
    assert (kept.complexity, kept.required_tools) == ("medium", ("search",))
    assert [(one.id, one.depends_on) for one in kept.sub_tasks] == [("a", ())]
