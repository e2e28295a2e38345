"""Whether an answer of the right shape holds together, makes sense and may be carried out. Pure.

Structure comes before sense, sense before authority; every problem is found, not only the first.
Numbers and instants are judged against limits that a person set and a `now` that is passed in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agents_app.planning import dependencies, parameter_schemas
from agents_app.planning.authority import Rights
from agents_app.planning.contracts import MOST_PRIORITY, Advice, Plan, PlanStep, TaskAnalysis
from agents_app.planning.problems import MalformedClass, cut
from agents_app.planning.problems import Problem as Problem

MOST_AHEAD: Final = timedelta(days=366)
MILLISECOND: Final = timedelta(milliseconds=1)
NOTHING_SAID: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """`most_steps`: MAX_PLAN_STEPS. `strategy`: `auto`, or the one that the schedule prescribes."""

    most_steps: int
    most_concurrency: int = 20
    strategy: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceLimits:
    """`is_strict`: what is outside the intervals is refused here, not clamped afterwards."""

    now: datetime
    min_interval_ms: int | None = None
    max_interval_ms: int | None = None
    is_strict: bool = False


def plan_problems(
    plan: Plan,
    *,
    rights: Rights,
    limits: PlanLimits,
    places: Sequence[int] = (),
    said_ids: Collection[str] = NOTHING_SAID,
) -> list[Problem]:
    """All that is wrong with `plan`; empty: it may be carried out.

    `places`: where its steps stood in the answer, if some of that could not be read; `said_ids`:
    the ids of those as well, which then are not unknown.
    """
    paths = [f"steps[{place}]" for place in places or range(len(plan.steps))]
    return [
        *_too_many("steps", count=len(plan.steps), most=limits.most_steps),
        *graph_problems(plan.steps, paths=paths, said_ids=said_ids),
        *_plan_out_of_limits(plan, limits=limits),
        *_calls(plan.steps[: limits.most_steps], paths=paths, rights=rights),
    ]


def graph_problems(
    nodes: Sequence[dependencies.Node],
    *,
    paths: Sequence[str],
    said_ids: Collection[str] = NOTHING_SAID,
) -> Iterator[Problem]:
    """Ids that stand twice, dependencies on nothing or on oneself, and rings."""
    seen: set[str] = set()
    known = {one.id for one in nodes}.union(said_ids)
    for node, path in zip(nodes, paths, strict=True):
        if node.id in seen:
            yield _structure(f"{path}.id", f"{_said(node.id)} is the id of another as well")
        seen.add(node.id)
        for other in node.depends_on:
            if other == node.id:
                yield _structure(f"{path}.depends_on", f"{_said(other)} depends on itself")
            elif other not in known:
                yield _structure(f"{path}.depends_on", f"there is no {_said(other)}")
    for ring in dependencies.cycles(dependencies.edges(nodes)):
        told = cut(" -> ".join(_said(one) for one in ring))
        yield _structure("", f"these depend on each other: {told}")


def _too_many(path: str, *, count: int, most: int) -> Iterator[Problem]:
    if count > most:
        yield _structure(path, f"there are {count}, and at most {most} are allowed")
    elif count == 0:
        yield _structure(path, "there are none")


def _plan_out_of_limits(plan: Plan, *, limits: PlanLimits) -> Iterator[Problem]:
    if limits.strategy not in {"auto", plan.strategy}:
        yield _sense("strategy", f"must be {limits.strategy!r}, as the schedule says")
    if not 1 <= plan.concurrency <= limits.most_concurrency:
        yield _sense("concurrency", f"must be 1 to {limits.most_concurrency}")
    yield from _confidence(plan.confidence)


def _confidence(confidence: float) -> Iterator[Problem]:
    if not 0 <= confidence <= 1:
        yield _sense("confidence", "must be 0 to 1")


def _calls(steps: Sequence[PlanStep], *, paths: Sequence[str], rights: Rights) -> Iterator[Problem]:
    for step, path in zip(steps, paths, strict=False):
        yield from step_problems(step, path=path, rights=rights)


def step_problems(step: PlanStep, *, path: str, rights: Rights) -> Iterator[Problem]:
    """Whether what a step calls exists, is opened, and takes these parameters."""
    if not 0 <= step.priority <= MOST_PRIORITY:
        yield _sense(f"{path}.priority", f"must be 0 to {MOST_PRIORITY}")
    called = (step.target, step.name)
    if (offer := rights.open.get(called)) is not None:
        for where, how in parameter_schemas.misfits(step.parameters, schema=dict(offer.schema)):
            yield _sense(f"{path}.parameters_json{'.' if where else ''}{where}", how)
    elif (why := rights.withheld.get(called)) is not None:
        yield _sense(f"{path}.name", f"{step.target} {_said(step.name)} {why}")
    else:
        yield _sense(f"{path}.name", f"there is no {step.target} {_said(step.name)}")


def advice_problems(advice: Advice, *, limits: AdviceLimits) -> list[Problem]:
    """All that is wrong with `advice`; empty: it may be proposed."""
    problems = list(_confidence(advice.confidence))
    match advice.action:
        case "next_run_at":
            problems += _instant("next_run_at", advice.next_run_at, now=limits.now)
        case "pause":
            problems += _instant("pause_until", advice.pause_until, now=limits.now)
        case "interval":
            problems += _interval(advice.interval_ms)
    if limits.is_strict and not problems:
        problems += [_sense(path, words) for path, words in _outside(advice, limits=limits)]
    return problems


def to_be_clamped(advice: Advice, *, limits: AdviceLimits) -> tuple[str, ...]:
    """What the limits of the schedule will change of advice that is taken as it is."""
    outside = _outside(advice, limits=limits)
    return tuple(f"{path} {words}: it will be clamped" for path, words in outside)


def _instant(path: str, instant: datetime | None, *, now: datetime) -> Iterator[Problem]:
    if instant is None:
        what = "a pause needs an end" if path == "pause_until" else "this action needs it"
        yield _sense(path, f"is missing: {what}")
    elif instant <= now:
        yield _sense(path, "is not in the future")
    elif instant > now + MOST_AHEAD:
        yield _sense(path, f"is more than {MOST_AHEAD.days} days ahead")


def _interval(interval_ms: int | None) -> Iterator[Problem]:
    if interval_ms is None:
        yield _sense("interval_ms", "is missing: this action needs it")
    elif not 1 <= interval_ms <= MOST_AHEAD / MILLISECOND:
        yield _sense("interval_ms", f"must be 1 to {MOST_AHEAD // MILLISECOND}")


def _outside(advice: Advice, *, limits: AdviceLimits) -> Iterator[tuple[str, str]]:
    """A pause is no interval: it ends when it ends."""
    if advice.action == "interval":
        waits = advice.interval_ms
    elif advice.action == "next_run_at" and advice.next_run_at is not None:
        waits = (advice.next_run_at - limits.now) // MILLISECOND
    else:
        return
    if waits is None:
        return
    path = "interval_ms" if advice.action == "interval" else "next_run_at"
    if limits.min_interval_ms is not None and waits < limits.min_interval_ms:
        yield path, f"is less than min_interval_ms ({limits.min_interval_ms}) away"
    if limits.max_interval_ms is not None and waits > limits.max_interval_ms:
        yield path, f"is more than max_interval_ms ({limits.max_interval_ms}) away"


def analysis_problems(
    analysis: TaskAnalysis,
    *,
    tools: Collection[str],
    most_parts: int,
    places: Sequence[int] = (),
    said_ids: Collection[str] = NOTHING_SAID,
) -> list[Problem]:
    """All that is wrong with the analysis of a task for which there are these `tools`."""
    count = len(analysis.sub_tasks)
    paths = [f"sub_tasks[{place}]" for place in places or range(count)]
    too_many = _too_many("sub_tasks", count=count, most=most_parts) if count else ()
    unknown = [name for name in analysis.required_tools if name not in tools]
    return [
        *too_many,
        *graph_problems(analysis.sub_tasks, paths=paths, said_ids=said_ids),
        *(_sense("required_tools", f"there is no tool {_said(name)}") for name in unknown),
    ]


def waves(plan: Plan) -> list[list[PlanStep]]:
    """The steps of a valid plan in waves: each begins when the one before has ended.

    Sequential: one by one, as listed. Else one wave for each level of dependencies - so a parallel
    plan has one, unless it says that something comes before - the urgent first. Raises ValueError
    for a plan that is not valid.
    """
    if len(dependencies.first_of_each(plan.steps)) < len(plan.steps):
        raise ValueError("Two steps of the plan have one id")
    levels = dependencies.levels(plan.steps)
    if plan.strategy == "sequential":
        return [[step] for step in _in_turn(plan.steps)]
    return [sorted(level, key=lambda step: -step.priority) for level in levels]


def _in_turn(steps: Sequence[PlanStep]) -> Iterator[PlanStep]:
    """As listed, but none before what it depends on; they are in no ring."""
    before = {name: set(others) for name, others in dependencies.edges(steps).items()}
    left = list(steps)
    done: set[str] = set()
    while left:
        step = next(one for one in left if before[one.id] <= done)
        left.remove(step)
        done.add(step.id)
        yield step


def _said(text: str) -> str:
    return repr(cut(text, 60))


def _structure(path: str, message: str) -> Problem:
    return Problem(path, cut(message), MalformedClass.STRUCTURAL_INCONSISTENCY)


def _sense(path: str, message: str) -> Problem:
    return Problem(path, cut(message), MalformedClass.SEMANTIC_VIOLATION)
