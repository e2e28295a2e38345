"""Good answers pass, in the order and within the limits that people set."""

from __future__ import annotations

from typing import Any

import pytest

from agents_app.planning.contracts import Advice, Plan, PlanStep
from agents_app.planning.validation import waves
from tests.agents_app.planning.asked import (
    NOW,
    advice,
    advice_contract,
    analysis,
    analysis_contract,
    plan,
    plan_contract,
    step,
    text,
)


def made_of(*steps: PlanStep, strategy: Any = "dependency") -> Plan:
    return Plan(strategy, 2, steps)


def a(id_: str, *depends_on: str, priority: int = 50) -> PlanStep:
    return PlanStep(id_, "endpoint", "warm", depends_on=depends_on, priority=priority)


def ids(plan: Plan) -> list[list[str]]:
    return [[one.id for one in wave] for wave in waves(plan)]


def test_a_good_plan_is_read_as_it_was_said() -> None:
    said = plan(
        step("a", name="deploy", parameters_json='{"region": "eu"}', critical=True),
        step("b", target="tool", name="search", depends_on=["a", "a"], priority=7),
    )

    judged = plan_contract().judge(text(said))

    assert judged.problems == ()
    assert judged.value == Plan(
        "dependency",
        2,
        (
            PlanStep(
                "a", "endpoint", "deploy", {"region": "eu"}, (), 50, critical=True, reason="because"
            ),
            PlanStep("b", "tool", "search", {}, ("a",), 7, reason="because"),
        ),
        "it is time",
        0.8,
    )


def test_parameters_may_also_be_said_as_the_object_itself() -> None:
    said = plan(step("a", name="deploy", parameters_json={"region": "us"}))

    value = plan_contract().judge(text(said)).value

    assert value is not None
    assert value.steps[0].parameters == {"region": "us"}


def test_whole_numbers_may_be_written_with_a_point() -> None:
    value = plan_contract().judge(text(plan(step(priority=7.0), concurrency=2.0))).value

    assert value is not None
    assert (value.concurrency, value.steps[0].priority) == (2, 7)


def test_a_strategy_that_the_schedule_prescribes_is_held() -> None:
    contract = plan_contract(strategy="sequential")

    assert contract.judge(text(plan(strategy="sequential"))).problems == ()
    assert [one.path for one in contract.judge(text(plan())).problems] == ["strategy"]


def test_a_long_reason_is_shortened_and_costs_no_repair() -> None:
    value = plan_contract().judge(text(plan(reason="so " * 5_000))).value

    assert value is not None
    assert len(value.reason) == 2_000


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (advice(), Advice("keep", reason="quiet", confidence=0.5)),
        (
            advice("interval", interval_ms=300_000, next_run_at="2026-06-01T13:00:00Z"),
            Advice("interval", interval_ms=300_000, reason="quiet", confidence=0.5),
        ),
        (
            advice("next_run_at", next_run_at="2026-06-01T15:30:00+02:00"),
            Advice(
                "next_run_at",
                next_run_at=NOW.replace(hour=13, minute=30),
                reason="quiet",
                confidence=0.5,
            ),
        ),
        (
            advice("pause", pause_until="2026-07-01T00:00:00Z", recommended_actions=["look"]),
            Advice(
                "pause",
                pause_until=NOW.replace(month=7, hour=0),
                reason="quiet",
                confidence=0.5,
                recommended_actions=("look",),
            ),
        ),
    ],
    ids=["keep", "interval", "instant of another zone", "pause"],
)
def test_good_advice_keeps_what_belongs_to_its_action(said: dict[str, Any], wanted: Advice) -> None:
    judged = advice_contract(is_strict=True).judge(text(said))

    assert judged.problems == ()
    assert judged.value == wanted


def test_what_the_limits_will_change_is_noted_where_the_schedule_is_not_strict() -> None:
    judged = advice_contract().judge(text(advice("interval", interval_ms=1_000)))

    assert judged.value is not None
    assert judged.value.interval_ms == 1_000
    assert "min_interval_ms (60000)" in judged.notes[0]
    assert "min_interval_ms (60000)" in judged.value.reason


@pytest.mark.parametrize("instant", ["2026-06-01T12:00:00Z", "2026-06-01T11:00:00Z"])
def test_only_the_future_will_do_also_where_the_schedule_is_not_strict(instant: str) -> None:
    judged = advice_contract(min_interval_ms=None).judge(
        text(advice("next_run_at", next_run_at=instant))
    )

    assert [one.path for one in judged.problems] == ["next_run_at"]


def test_a_pause_is_not_held_to_the_intervals() -> None:
    said = advice("pause", pause_until="2026-06-10T00:00:00Z")

    assert advice_contract(is_strict=True).judge(text(said)).problems == ()


def test_a_good_analysis_is_read_with_what_depends_on_what() -> None:
    value = analysis_contract().judge(text(analysis())).value

    assert value is not None
    assert [(one.id, one.depends_on) for one in value.sub_tasks] == [
        ("look", ()),
        ("tell", ("look",)),
    ]


def test_an_analysis_needs_no_parts() -> None:
    assert analysis_contract().judge(text(analysis(sub_tasks=[]))).problems == ()


def test_a_diamond_runs_in_three_waves() -> None:
    diamond = made_of(
        a("end", "left", "right"), a("left", "begin"), a("right", "begin"), a("begin")
    )

    assert ids(diamond) == [["begin"], ["left", "right"], ["end"]]


def test_sequential_steps_run_one_by_one_as_listed() -> None:
    assert ids(made_of(a("c", priority=1), a("a"), a("b", "c"), strategy="sequential")) == [
        ["c"],
        ["a"],
        ["b"],
    ]


def test_a_sequential_step_listed_before_what_it_waits_for_runs_behind_it() -> None:
    assert ids(made_of(a("a", "b"), a("b"), a("c"), strategy="sequential")) == [
        ["b"],
        ["a"],
        ["c"],
    ]


def test_parallel_steps_are_one_wave_the_urgent_first() -> None:
    parallel = made_of(
        a("a", priority=1), a("b", priority=90), a("c", priority=90), strategy="parallel"
    )

    assert ids(parallel) == [["b", "c", "a"]]


def test_a_parallel_plan_still_keeps_to_what_it_says_comes_before() -> None:
    assert ids(made_of(a("a"), a("b", "a"), a("c"), strategy="parallel")) == [["a", "c"], ["b"]]


@pytest.mark.parametrize(
    "plan_",
    [
        made_of(a("a", "b"), a("b", "a")),
        made_of(a("a", "b"), a("b", "a"), strategy="sequential"),
        made_of(a("a"), a("a")),
    ],
    ids=["a ring", "a ring in sequence", "an id twice"],
)
def test_a_plan_that_is_not_valid_has_no_waves(plan_: Plan) -> None:
    with pytest.raises(ValueError, match=r"step"):
        waves(plan_)


def test_five_hundred_steps_in_one_chain_have_five_hundred_waves() -> None:
    chain = made_of(*[a(str(n), *([str(n - 1)] if n else [])) for n in range(500)])

    assert len(waves(chain)) == 500
