"""What the live feed tells of the steps of a cycle: each one's beginning and each one's end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from agents_app.models import Cycle
from executions_app import events, steps
from executions_app.states import StepStatus


class OneStep(Protocol):
    """A step as far as the feed names it."""

    @property
    def id(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def wave(self) -> int: ...


def of(step: OneStep, type_: str, *, cycle: Cycle, reason: str = "") -> events.NewEvent:
    """What the feed tells of a step."""
    return events.NewEvent(
        type=type_,
        topic=f"execution:{cycle.execution_id}",
        data={"step": str(step.id), "name": step.name, "wave": step.wave, "reason": reason},
        owner_id=cycle.owner_id,
        schedule_id=cycle.schedule_id,
        execution_id=cycle.execution_id,
    )


def end_unstarted(cycle: Cycle, reasons: Mapping[UUID, str], *, status: StepStatus) -> None:
    """In the caller's transaction: skip or cancel steps that have not begun, and tell of each."""
    if not reasons:
        return
    ended = steps.end_unstarted(cycle.execution_id, reasons, status=status)
    events.emit([of(one, f"step:{status}", cycle=cycle, reason=one.reason) for one in ended])
