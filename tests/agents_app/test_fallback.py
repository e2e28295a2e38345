"""What stands in for a model: which plan is carried out, and when the schedule runs next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents_app.agent_config import AgentConfig, Budget
from agents_app.models_cycles import Tier
from agents_app.planning import fallback, fallback_timing
from agents_app.planning.contracts import Advice, Plan, PlanStep
from agents_app.planning.fallback import FallbackConfig, Standby, Trouble, choose
from agents_app.planning.fallback_timing import (
    Adaptive,
    FallbackStrategy,
    Interval,
    PastOutcome,
    PauseToTomorrow,
    Repeat,
    Situation,
)
from agents_app.planning.job_context import EndpointFacts
from tests.agents_app.told import ENDPOINTS, NOW, a_context

HOUR = 3_600_000
GOOD = PastOutcome(is_good=True, duration_ms=1_000)
BAD = PastOutcome(is_good=False, duration_ms=1_000)
STRATEGIES: list[FallbackStrategy] = [
    Interval(),
    Interval(interval_ms=90_000),
    Adaptive(),
    Repeat(),
    PauseToTomorrow(),
]


def a_situation(*runs: PastOutcome, **changes: Any) -> Situation:
    known = Situation(
        now=NOW,
        nominal_at=NOW,
        next_run_at=NOW + timedelta(hours=1),
        interval_ms=HOUR,
        min_interval_ms=60_000,
        max_interval_ms=24 * HOUR,
        runs=runs,
    )
    return replace(known, **changes)


def a_plan(*names: str, target: Any = "endpoint") -> Plan:
    steps = tuple(
        PlanStep(id=f"s{place}", target=target, name=name)
        for place, name in enumerate(names, start=1)
    )
    return Plan("sequential", 1, steps, reason=" ".join(names))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize("runs", [(), (GOOD,), (BAD, BAD), (GOOD, BAD)])
def test_every_strategy_gives_whole_advice_and_always_the_same(
    strategy: FallbackStrategy, runs: tuple[PastOutcome, ...]
) -> None:
    known = a_situation(*runs, last_interval_ms=120_000)

    given_advice = strategy.advise(known)

    assert given_advice == strategy.advise(known)
    assert Advice.from_json(given_advice.as_json()) == given_advice
    assert given_advice.reason
    assert strategy.source in {"fallback:interval", "fallback:adaptive", "last_good", "budget"}
    match given_advice.action:
        case "interval":
            assert given_advice.interval_ms is not None
            assert 60_000 <= given_advice.interval_ms <= 24 * HOUR
        case "pause":
            assert given_advice.pause_until is not None
            assert given_advice.pause_until > NOW
        case _:
            assert given_advice.action == "keep"


def test_a_new_strategy_is_a_class_with_one_method() -> None:
    class Never(FallbackStrategy):
        source = "fallback:never"

        def advise(self, situation: Situation) -> Advice:
            return Advice("pause", pause_until=situation.now + timedelta(days=1), reason="never")

    assert Never().advise(a_situation()).action == "pause"
    with pytest.raises(TypeError, match="abstract"):
        FallbackStrategy()  # type: ignore[abstract]


def test_the_interval_strategy_keeps_the_own_timing_or_a_fixed_interval() -> None:
    assert Interval().advise(a_situation()).action == "keep"
    assert Interval(interval_ms=90_000).advise(a_situation()).interval_ms == 90_000
    assert Interval(interval_ms=1).advise(a_situation()).interval_ms == 60_000


def adapted(*runs: PastOutcome, **changes: Any) -> int | None:
    return Adaptive().advise(a_situation(*runs, **changes)).interval_ms


def test_failures_lengthen_the_interval_up_to_the_longest() -> None:
    lengths = [adapted(*[BAD] * count) for count in range(1, 8)]

    assert lengths == [HOUR * factor for factor in (2, 4, 8, 16, 24, 24, 24)]
    assert adapted(*[BAD] * 20, max_interval_ms=None) == 32 * HOUR


def test_successes_shorten_the_interval_down_to_the_shortest() -> None:
    lengths = [adapted(*[GOOD] * count) for count in range(1, 9)]

    assert lengths == [
        3_240_000, 2_916_000, 2_624_400, 2_361_960, 2_125_764, 1_913_188, 1_800_000, 1_800_000,
    ]  # fmt: skip
    assert adapted(*[GOOD] * 8, min_interval_ms=50 * 60_000) == 50 * 60_000


def test_only_the_latest_streak_counts() -> None:
    assert adapted(GOOD, BAD, BAD, BAD) == adapted(GOOD)
    assert adapted(BAD, GOOD, GOOD) == adapted(BAD)


def test_where_nobody_set_a_minimum_a_schedule_runs_no_more_often_than_its_rule() -> None:
    assert adapted(*[GOOD] * 5, min_interval_ms=None) == HOUR


def test_long_runs_get_the_room_they_need() -> None:
    slow = PastOutcome(is_good=True, duration_ms=2 * HOUR)

    assert adapted(slow, slow) == 4 * HOUR


def test_a_cron_rule_is_adapted_by_the_distance_of_its_fires() -> None:
    known: dict[str, Any] = {"interval_ms": None, "now": NOW + timedelta(minutes=20)}

    assert adapted(BAD, **known) == 2 * HOUR


def test_a_run_that_was_made_up_for_does_not_stretch_the_distance() -> None:
    yesterday = NOW - timedelta(days=1)

    assert adapted(BAD, interval_ms=None, nominal_at=yesterday) == 2 * HOUR


@pytest.mark.parametrize(
    "unknown", [{"next_run_at": None}, {"next_run_at": NOW - timedelta(hours=1)}]
)
def test_without_a_distance_the_own_timing_holds(unknown: dict[str, Any]) -> None:
    known = a_situation(BAD, interval_ms=None, **unknown)

    assert Adaptive().advise(known).action == "keep"


@given(
    st.lists(
        st.builds(
            PastOutcome, is_good=st.booleans(), duration_ms=st.none() | st.integers(0, 10**8)
        ),
        max_size=20,
    ),
    st.integers(1_000, 10**9),
    st.integers(1_000, 10**7),
    st.integers(10**7, 10**9),
)
def test_an_adapted_interval_is_within_its_limits(
    runs: list[PastOutcome], base: int, least: int, most: int
) -> None:
    advice = Adaptive().advise(
        a_situation(*runs, interval_ms=base, min_interval_ms=least, max_interval_ms=most)
    )

    assert advice.interval_ms is None or least <= advice.interval_ms <= most
    assert (advice.interval_ms is None) == (not runs)


def test_a_pause_for_the_budget_ends_with_the_day_in_utc() -> None:
    late = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)

    advice = PauseToTomorrow().advise(a_situation(now=late))

    assert advice.pause_until == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_situation_is_read_out_of_what_the_model_is_told() -> None:
    known = fallback_timing.situation(a_context(), this=GOOD, last_interval_ms=70_000)

    assert [one.is_good for one in known.runs] == [True, False, True]
    assert known.base_ms == 600_000
    assert known.min_interval_ms == 60_000
    assert known.last_interval_ms == 70_000


def test_the_deterministic_plan_calls_all_endpoints_in_the_order_declared() -> None:
    plan = fallback.deterministic_plan(ENDPOINTS, parameters={"depth": 3, "other": 1})

    assert plan is not None
    assert (plan.strategy, plan.concurrency) == ("sequential", 1)
    assert [one.name for one in plan.steps] == ["warm-eu", "hit-rate"]
    assert [one.critical for one in plan.steps] == [True, False]
    assert [one.parameters for one in plan.steps] == [{"depth": 3}, {}]
    assert len({one.id for one in plan.steps}) == 2
    assert Plan.from_json(plan.as_json()) == plan


def test_an_endpoint_without_a_parameter_that_it_requires_is_left_out_and_named() -> None:
    plan = fallback.deterministic_plan(ENDPOINTS)

    assert plan is not None
    assert [one.name for one in plan.steps] == ["hit-rate"]
    assert "warm-eu" in plan.reason


def test_defaults_of_a_schema_are_parameters() -> None:
    schema: Any = {"properties": {"depth": {"default": 2}}, "required": ["depth"]}

    plan = fallback.deterministic_plan([EndpointFacts(name="one", parameters_schema=schema)])

    assert plan is not None
    assert plan.steps[0].parameters == {"depth": 2}


def test_where_nothing_can_be_called_there_is_no_deterministic_plan() -> None:
    assert fallback.deterministic_plan([]) is None
    assert fallback.deterministic_plan(ENDPOINTS[:1]) is None


def test_the_last_good_plan_is_the_newest_whose_endpoints_all_still_exist() -> None:
    gone, here = a_plan("warm-eu", "removed"), a_plan("hit-rate", "warm-eu")

    found = fallback.last_good_plan([a_plan(), gone, here, a_plan("hit-rate")], ENDPOINTS)

    assert found is here


def test_the_last_good_plan_is_validated_anew() -> None:
    newest, older = a_plan("warm-eu"), a_plan("hit-rate")

    found = fallback.last_good_plan(
        [newest, older], ENDPOINTS, check=lambda one: ["no"] if one is newest else []
    )

    assert found is older
    assert fallback.last_good_plan([newest], ENDPOINTS, check=lambda _: ["no"]) is None


def test_a_tool_of_the_last_good_plan_must_still_be_allowed() -> None:
    plan = a_plan("warm-eu", target="tool")

    assert fallback.last_good_plan([plan], ENDPOINTS) is None
    assert fallback.last_good_plan([plan], ENDPOINTS, tools=["warm-eu"]) is plan


BOTH = Standby(last_good=a_plan("hit-rate"), deterministic=a_plan("warm-eu"))
ONLY_DETERMINISTIC = replace(BOTH, last_good=None)
ONLY_LAST_GOOD = replace(BOTH, deterministic=None)
NEITHER = Standby()
OFF, DOWN, SPENT = Trouble.SWITCHED_OFF, Trouble.DOWN, Trouble.BUDGET_SPENT
KNOWN = a_situation(BAD, last_interval_ms=120_000)
NEW = a_situation()
TABLE: list[tuple[Trouble, Situation, Standby, str, str, str, type[FallbackStrategy]]] = [
    # trouble, what is known, plans at hand, fallback, when_spent -> tier, timing
    (DOWN, KNOWN, BOTH, "adaptive", "skip", "last_good", Adaptive),
    (DOWN, KNOWN, ONLY_DETERMINISTIC, "adaptive", "skip", "deterministic", Adaptive),
    (DOWN, KNOWN, NEITHER, "adaptive", "skip", "baseline", Adaptive),
    (DOWN, NEW, BOTH, "adaptive", "skip", "last_good", Interval),
    (DOWN, KNOWN, BOTH, "interval", "skip", "last_good", Interval),
    (DOWN, KNOWN, BOTH, "last_good", "skip", "last_good", Repeat),
    (DOWN, NEW, BOTH, "last_good", "skip", "last_good", Interval),
    (Trouble.MALFORMED, KNOWN, BOTH, "adaptive", "pause", "last_good", Adaptive),
    (Trouble.NO_AGENT, KNOWN, BOTH, "adaptive", "pause", "last_good", Adaptive),
    (OFF, KNOWN, BOTH, "adaptive", "skip", "last_good", Interval),
    (OFF, KNOWN, ONLY_DETERMINISTIC, "last_good", "skip", "deterministic", Interval),
    (SPENT, KNOWN, BOTH, "adaptive", "deterministic", "deterministic", Adaptive),
    (SPENT, KNOWN, ONLY_LAST_GOOD, "adaptive", "deterministic", "last_good", Adaptive),
    (SPENT, KNOWN, NEITHER, "interval", "deterministic", "baseline", Interval),
    (SPENT, KNOWN, BOTH, "adaptive", "cheaper", "last_good", Adaptive),
    (SPENT, KNOWN, BOTH, "adaptive", "skip", "baseline", Interval),
    (SPENT, KNOWN, BOTH, "adaptive", "pause", "baseline", PauseToTomorrow),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[3]}-{row[4]}-{row[5]}")
def test_plan_and_timing_are_chosen_by_situation_and_configuration(row: Any) -> None:
    trouble, known, standby, timing, when_spent, tier, strategy = row

    choice = choose(
        trouble,
        known,
        config=FallbackConfig(timing=timing, when_spent=when_spent),
        standby=standby,
    )

    expected = {"last_good": standby.last_good, "deterministic": standby.deterministic}
    assert choice.tier == tier
    assert choice.plan is expected.get(tier)
    assert type(choice.strategy) is strategy
    assert choice.reason.startswith(fallback.WORDS[trouble])


@pytest.mark.parametrize(
    ("trouble", "interval_ms", "advised"),
    [(DOWN, 90_000, 90_000), (DOWN, 1_000, 60_000), (DOWN, None, None), (OFF, 90_000, None)],
)
def test_a_schedule_may_name_a_fixed_interval(
    trouble: Trouble, interval_ms: int | None, advised: int | None
) -> None:
    config = FallbackConfig(timing="interval", interval_ms=interval_ms)
    choice = choose(trouble, KNOWN, config=config, standby=BOTH)

    advice, source = fallback.advice(choice, KNOWN)

    assert (advice.interval_ms, source) == (advised, "fallback:interval")


def test_a_fixed_interval_goes_with_its_own_word_alone() -> None:
    words: dict[str, Any] = {"goal": "warm", "endpoints": ["a"], "fallback_interval_ms": 90_000}

    assert AgentConfig(**words, fallback="interval").fallback_interval_ms == 90_000
    with pytest.raises(ValidationError, match="goes with fallback 'interval'"):
        AgentConfig(**words)


def test_every_trouble_leads_to_a_tier_that_can_be_recorded_and_to_advice_with_its_source() -> None:
    for trouble in Trouble:
        choice = choose(trouble, KNOWN, config=FallbackConfig(), standby=BOTH)
        advice, source = fallback.advice(choice, KNOWN)

        assert choice.tier in {one.value for one in Tier}
        assert advice.reason
        assert source == choice.strategy.source


def test_the_words_of_a_schedule_are_the_words_of_the_table() -> None:
    timings = get_args(AgentConfig.model_fields["fallback"].annotation)
    spent = get_args(Budget.model_fields["when_spent"].annotation)

    assert set(timings) == set(get_args(fallback.Timing))
    assert set(spent) == set(get_args(fallback.WhenSpent))
