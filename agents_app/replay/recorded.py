"""What a cycle has left of its decisions: context, calls of models, plan, advice, results.

Read once, bounded, and never written: a replay changes nothing of what it looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import JsonValue, ValidationError

from agents_app.agent_config import AgentConfig
from agents_app.cycle import holder, material
from agents_app.models import Cycle, ModelCall
from agents_app.models_cycles import CallStatus, Phase
from agents_app.planning.contracts import Advice, Plan, TaskAnalysis
from agents_app.planning.fallback import Trouble
from agents_app.planning.job_context import JobContext
from executions_app.models import Execution
from executions_app.states import SchedulerException

MOST_CALLS: Final = 200
PHASES: Final = (Phase.ANALYSE, Phase.PLAN, Phase.SUMMARISE, Phase.SCHEDULE)


class NothingToReplay(SchedulerException):
    """Nothing was decided in this cycle yet, or what was decided cannot be read any more."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One question to one model of one provider, with its retries and repairs, in their order."""

    calls: tuple[ModelCall, ...]

    @property
    def who(self) -> tuple[str, str]:
        """The provider and the model."""
        return self.calls[0].provider, self.calls[0].model


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A cycle as it is stored. `askings`: by phase those of its last round, provider by provider.

    `nominal_at`: the planned instant of the run, if it has one.
    """

    cycle: Cycle
    number: int
    name: str
    nominal_at: datetime | None
    config: AgentConfig
    context: JobContext
    parameters: Mapping[str, JsonValue]
    analysis: TaskAnalysis | None
    plan: Plan | None
    advice: Advice | None
    calls: tuple[ModelCall, ...]
    askings: Mapping[Phase, tuple[Asking, ...]]
    results: Sequence[Mapping[str, Any]]

    @property
    def trouble(self) -> Trouble | None:
        """Why no model planned, if none did."""
        known = {one.value: one for one in Trouble}
        return known.get(self.cycle.trouble)

    def grounds(self, phase: Phase) -> Mapping[str, Any] | None:
        """What the answers in a phase were checked against; None if that was not stored."""
        known = [
            call.grounds
            for asking in self.askings.get(phase, ())
            for call in asking.calls
            if call.grounds
        ]
        return known[-1] if known else None


def of_cycle(cycle: Cycle) -> Recorded:
    """All that is stored of it; raises NothingToReplay."""
    execution = Execution.objects.filter(id=cycle.execution_id).first()
    if execution is None:
        raise NothingToReplay("The execution of this cycle is not kept any more")
    if not cycle.context:
        raise NothingToReplay("Nothing was planned in this cycle, or not yet")
    calls = _calls(cycle)
    try:
        return Recorded(
            cycle=cycle,
            number=execution.number,
            name=str(execution.snapshot.get("name") or "unnamed"),
            nominal_at=execution.nominal_at,
            config=holder.config_in(execution.snapshot),
            context=JobContext.from_json(cycle.context),
            parameters=execution.parameters,
            analysis=TaskAnalysis.from_json(cycle.analysis) if cycle.analysis else None,
            plan=None if cycle.plan is None else Plan.from_json(cycle.plan),
            advice=None if cycle.advice is None else Advice.from_json(cycle.advice["advice"]),
            calls=calls,
            askings={one: _last_round(_of_phase(calls, one)) for one in PHASES},
            results=material.results(cycle),
        )
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise NothingToReplay(
            f"What is stored of this cycle is of a version that cannot be read: {error}"
        ) from None


def cycle_named(reference: UUID) -> Cycle | None:
    """The cycle of this id, or that of the execution of this id."""
    found = Cycle.objects.filter(id=reference).first()
    return found or Cycle.objects.filter(execution_id=reference).first()


def _calls(cycle: Cycle) -> tuple[ModelCall, ...]:
    """The newest of them, in their order; those of replays belong to no cycle."""
    rows = ModelCall.objects.filter(
        execution_id=cycle.execution_id, cycle_id=cycle.id, phase__in=[one.value for one in PHASES]
    )
    return tuple(reversed(rows.order_by("-id")[:MOST_CALLS]))


def _of_phase(calls: Iterable[ModelCall], phase: Phase) -> list[Asking]:
    """The questions of a phase, each with the calls that it took."""
    found: list[list[ModelCall]] = []
    for call in calls:
        if call.phase != phase:
            continue
        if found and _goes_on(call, after=found[-1][-1]):
            found[-1].append(call)
        else:
            found.append([call])
    return [Asking(tuple(one)) for one in found]


def _goes_on(call: ModelCall, *, after: ModelCall) -> bool:
    """Whether it belongs to the same question: a retry of the door, or a repair."""
    if (call.provider, call.model) != (after.provider, after.model):
        return False
    is_retry = call.attempt == after.attempt and after.status == CallStatus.FAILED
    return is_retry or call.attempt > after.attempt


def _last_round(askings: Sequence[Asking]) -> tuple[Asking, ...]:
    """From the last time that it was begun: a stage asks each provider once."""
    kept: list[Asking] = []
    for asking in reversed(askings):
        if any(asking.who == one.who for one in kept):
            break
        kept.append(asking)
    return tuple(reversed(kept))
