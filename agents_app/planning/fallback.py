"""What stands in for a model that cannot be asked, or whose answers cannot be used. Pure.

The plan comes from the ladder: the last good plan, else all endpoints in the order in which they
are declared, else nothing is called and the schedule's own timing holds. When to run next comes
from the strategy that the schedule names. `choose` is the whole table of both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from pydantic import JsonValue

from agents_app.planning.contracts import Advice, Plan, PlanStep
from agents_app.planning.fallback_timing import (
    Adaptive,
    FallbackStrategy,
    Interval,
    PauseToTomorrow,
    Repeat,
    Situation,
)
from agents_app.planning.job_context import EndpointFacts

LAST_GOOD: Final = "last_good"
DETERMINISTIC: Final = "deterministic"
BASELINE: Final = "baseline"

WhenSpent = Literal["deterministic", "skip", "cheaper", "pause"]
Timing = Literal["adaptive", "interval", "last_good"]
Check = Callable[[Plan], Collection[object]]


class Trouble(StrEnum):
    """Why no model answers; `switched_off`: nobody wants one, or none is configured."""

    SWITCHED_OFF = "switched_off"
    NO_AGENT = "no_agent"
    DOWN = "down"
    MALFORMED = "malformed"
    BUDGET_SPENT = "budget_spent"


WORDS: Final[Mapping[Trouble, str]] = {
    Trouble.SWITCHED_OFF: "no model is configured",
    Trouble.NO_AGENT: "no agent is free and healthy",
    Trouble.DOWN: "the model cannot be reached",
    Trouble.MALFORMED: "the model's answers cannot be used",
    Trouble.BUDGET_SPENT: "the budget is spent",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackConfig:
    """What the schedule says: `fallback`, its interval, and `budget.when_spent`, in task_config."""

    timing: Timing = "adaptive"
    interval_ms: int | None = None
    when_spent: WhenSpent = "deterministic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is done instead. `tier`: who plans; without a plan nothing is called."""

    tier: str
    plan: Plan | None
    strategy: FallbackStrategy
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """The plans that could be carried out without a model; None where there is none."""

    last_good: Plan | None = None
    deterministic: Plan | None = None


def choose(
    trouble: Trouble, situation: Situation, *, config: FallbackConfig, standby: Standby
) -> Choice:
    """Who plans and who times, by situation and configuration.

    | trouble | plan | next run |
    |---|---|---|
    | budget spent, `skip` | none: nothing is called | the schedule's own timing |
    | budget spent, `pause` | none: nothing is called | a pause until the next day in UTC |
    | budget spent, `deterministic` | deterministic, else last good, else none | by `fallback` |
    | any other | last good, else deterministic, else none | by `fallback` |

    By `fallback`: `interval` is the fixed interval that the schedule names for it, else its own
    timing. `adaptive` needs a run that ended, else it is the schedule's own timing too. `last_good`
    repeats the interval that a model last gave, else it is the schedule's own timing. With no model
    wanted at all, the schedule's own timing holds whatever is configured: there is nobody to stand
    in for.
    """
    if trouble is Trouble.BUDGET_SPENT and config.when_spent in {"skip", "pause"}:
        is_pause = config.when_spent == "pause"
        return Choice(
            tier=BASELINE,
            plan=None,
            strategy=PauseToTomorrow() if is_pause else Interval(),
            reason=f"{WORDS[trouble]}: nothing is called",
        )
    is_saving = trouble is Trouble.BUDGET_SPENT and config.when_spent == DETERMINISTIC
    tier, plan = _first(standby, LAST_GOOD, DETERMINISTIC)
    if is_saving:
        tier, plan = _first(standby, DETERMINISTIC, LAST_GOOD)
    return Choice(
        tier=tier, plan=plan, strategy=_timing(trouble, situation, config), reason=WORDS[trouble]
    )


def _first(standby: Standby, *tiers: str) -> tuple[str, Plan | None]:
    plans = {LAST_GOOD: standby.last_good, DETERMINISTIC: standby.deterministic}
    for tier in tiers:
        if plans[tier] is not None:
            return tier, plans[tier]
    return BASELINE, None


def _timing(trouble: Trouble, situation: Situation, config: FallbackConfig) -> FallbackStrategy:
    if trouble is Trouble.SWITCHED_OFF:
        return Interval()
    if config.timing == "interval":
        return Interval(interval_ms=config.interval_ms)
    if config.timing == "adaptive" and situation.runs:
        return Adaptive()
    if config.timing == LAST_GOOD and situation.last_interval_ms is not None:
        return Repeat()
    return Interval()


def last_good_plan(
    plans: Iterable[Plan],
    endpoints: Sequence[EndpointFacts],
    *,
    tools: Collection[str] = (),
    check: Check = lambda _: (),
) -> Plan | None:
    """The newest plan (they come newest first) that could still be carried out as it stands.

    Every endpoint and tool of it must be among those given: registered, enabled, allowed. `check`
    validates it anew and answers what is wrong; it is asked only about plans that pass so far.
    """
    known = {("endpoint", one.name) for one in endpoints} | {("tool", name) for name in tools}
    for plan in plans:
        named = {(step.target, step.name) for step in plan.steps}
        if plan.steps and named <= known and not check(plan):
            return plan
    return None


def deterministic_plan(
    endpoints: Sequence[EndpointFacts], *, parameters: Mapping[str, JsonValue] | None = None
) -> Plan | None:
    """All endpoints in the order given, one after the other; None if none can be called.

    Parameters of an endpoint are those of the execution that its schema names, else the schema's
    defaults. One that requires a parameter which neither gives is left out, and the reason says so.
    """
    steps: list[PlanStep] = []
    left_out: list[str] = []
    for one in endpoints:
        filled = _filled(one.parameters_schema, parameters or {})
        if filled is None:
            left_out.append(one.name)
            continue
        steps.append(
            PlanStep(
                id=f"s{len(steps) + 1}",
                target="endpoint",
                name=one.name,
                parameters=filled,
                critical=one.critical,
                reason="declared",
            )
        )
    if not steps:
        return None
    reason = "All endpoints in the order in which they are declared; no model planned this."
    if left_out:
        reason += f" Left out, as a required parameter is missing: {', '.join(left_out)}."
    return Plan("sequential", 1, tuple(steps), reason=reason, confidence=0.0)


def _filled(
    schema: Mapping[str, JsonValue], parameters: Mapping[str, JsonValue]
) -> dict[str, JsonValue] | None:
    """The parameters by this schema; None if a required one is missing."""
    properties, required = schema.get("properties"), schema.get("required")
    named = properties if isinstance(properties, dict) else {}
    filled: dict[str, JsonValue] = {}
    for name, rule in named.items():
        if name in parameters:
            filled[name] = parameters[name]
        elif isinstance(rule, dict) and "default" in rule:
            filled[name] = rule["default"]
    needed = required if isinstance(required, list) else []
    return filled if all(name in filled for name in needed) else None


def advice(choice: Choice, situation: Situation) -> tuple[Advice, str]:
    """When to run next by the chosen strategy, and its source as it is recorded."""
    return choice.strategy.advise(situation), choice.strategy.source
