"""Outside an execution's life: what its AI planned, against the calls that the endpoints saw.

Each step that ended well was one call of its endpoint, and a plan without a model calls every
endpoint that the schedule names. Imports nothing of the code that keeps these rules.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from config.demo.evidence import Cycle, Evidence, Execution, Step
from config.demo.ledger import Call
from config.demo.schedules import DemoSchedule

AGENT: Final = "agent"
BY_THE_MODEL: Final = "model"
WITHOUT_A_MODEL: Final = "deterministic"
GOOD: Final = "completed"


def judge(evidence: Evidence, expected: Mapping[str, DemoSchedule]) -> Iterator[str]:
    """Everything in which cycles, their steps and the calls disagree."""
    names = {one.id: one.name for one in evidence.schedules}
    cycles = {one.execution_id: one for one in evidence.cycles}
    steps: defaultdict[UUID, list[Step]] = defaultdict(list)
    for step in evidence.steps:
        steps[step.execution_id].append(step)
    calls: defaultdict[str, list[Call]] = defaultdict(list)
    for call in evidence.calls:
        calls[call.idempotency_key or ""].append(call)
    for one in evidence.executions:
        if one.task_type != AGENT or one.status != GOOD:
            continue
        demo = expected.get(names.get(one.schedule_id, "")) if one.schedule_id else None
        yield from _tier_is_told(one, cycles.get(one.id))
        yield from _steps_were_called_once(one, steps[one.id], calls)
        if demo is not None:
            yield from _all_were_called(one, cycles.get(one.id), steps[one.id], demo)


def belongs(call: Call, step: Step) -> bool:
    """Whether a call went where its step was to go."""
    return step.url is not None and urlsplit(step.url).path == call.endpoint


def _tier_is_told(execution: Execution, cycle: Cycle | None) -> Iterator[str]:
    number = f"Execution #{execution.number}"
    if cycle is None:
        yield f"{number} is an agent's and has no cycle"
        return
    if not cycle.tier:
        yield f"{number} is completed, but its cycle does not say who planned it"
    wanted = "ok" if cycle.tier == BY_THE_MODEL else "degraded"
    if cycle.outcome != wanted:
        yield f"{number} (tier {cycle.tier!r}) has the outcome {cycle.outcome!r}, not {wanted!r}"


def _steps_were_called_once(
    execution: Execution, steps: Sequence[Step], calls: Mapping[str, Sequence[Call]]
) -> Iterator[str]:
    for step in steps:
        said = f"Step {step.name!r} of execution #{execution.number}"
        if step.status != GOOD:
            yield f"{said} is {step.status} although its execution is completed"
            continue
        made = calls.get(str(step.id), ())
        if len(made) != 1:
            yield f"{said} was called {len(made)} times instead of once"
        elif not made[0].was_good:
            yield f"{said} is completed, but its call got {made[0].status}"


def _all_were_called(
    execution: Execution, cycle: Cycle | None, steps: Sequence[Step], demo: DemoSchedule
) -> Iterator[str]:
    named = Counter(one.name for one in steps)
    for name in sorted(set(named).difference(demo.endpoints)):
        yield f"Execution #{execution.number} called {name!r}, which its schedule does not name"
    if cycle is not None and cycle.tier == WITHOUT_A_MODEL and named != Counter(demo.endpoints):
        yield (
            f"Execution #{execution.number} was planned without a model and yet did not call each "
            f"endpoint once: {dict(named)}"
        )
