"""An execution that a person or a program asks for: run this schedule now, whatever its cadence.

Other executions of the schedule are in its way as they are in the way of its fires, unless the
caller says otherwise; work that is unique is answered with what is there already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from executions_app import audit, clock
from executions_app.audit import Actor
from executions_app.database_errors import despite_deadlocks
from executions_app.models import Execution
from executions_app.states import Trigger
from scheduler_app import dispatcher, entering
from scheduler_app.entering import Asked
from scheduler_app.limiting.unique import Duplicate
from scheduler_app.models import Schedule
from scheduler_app.policies import OverlapPolicy


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller says beside the schedule; empty is what the schedule says.

    `overlap` stands in for its overlap policy, `unique_key` for the key of its template.
    """

    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    overlap: OverlapPolicy | None = None
    unique_key: str = ""
    source: Trigger = Trigger.MANUAL
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Triggered:
    """The execution that was made, or the one that was there already."""

    execution_id: UUID
    is_duplicate: bool

    def document(self) -> dict[str, Any]:
        """What the caller is told of it; a key may be kept for longer than its execution is."""
        row = Execution.objects.only("number", "status", "held_by").filter(id=self.execution_id)
        found = row.first()
        return {
            "execution_id": self.execution_id,
            "number": found and found.number,
            "status": found and found.status,
            "held_by": (found and found.held_by) or None,
            "duplicate": self.is_duplicate,
        }


def trigger(schedule: Schedule, wanted: Wanted, *, actor: Actor) -> Triggered:
    """Run a schedule now; works on a disabled one.

    While the system is stopped the execution waits, pending, until it is started again. Raises
    StillActive if the overlap policy admits none, MissingValue if a key lacks a parameter, and
    Schedule.DoesNotExist if it was deleted meanwhile.
    """
    triggered = despite_deadlocks(partial(_trigger, schedule, wanted, actor=actor))
    if not triggered.is_duplicate:
        dispatcher.release_due_if_running([triggered.execution_id])
    return triggered


def _trigger(schedule: Schedule, wanted: Wanted, *, actor: Actor) -> Triggered:
    with transaction.atomic():
        now = clock.now()
        # The same order as a fire by time: the schedule, the key of unique work, executions.
        locked = Schedule.objects.select_for_update().get(id=schedule.id)
        triggered = _enter(locked, wanted, now=now)
        audit.record(
            actor,
            "schedule.triggered",
            object_type="schedule",
            object_id=schedule.id,
            now=now,
            after={
                "execution_id": str(triggered.execution_id),
                **({"is_duplicate": True} if triggered.is_duplicate else {}),
            },
        )
    return triggered


def _enter(schedule: Schedule, wanted: Wanted, *, now: datetime) -> Triggered:
    asked = Asked(
        wanted.source,
        wanted.parameters,
        due_at=now,
        overlap=wanted.overlap,
        unique_key=wanted.unique_key,
        correlation_id=wanted.correlation_id,
    )
    entered = entering.enter(schedule, asked, now=now)
    return Triggered(entered.execution_id, is_duplicate=isinstance(entered, Duplicate))
