"""An execution that a person or a program asks for: run this schedule now, whatever its cadence.

Other executions of the schedule are in its way as they are in the way of its fires, unless the
caller says otherwise; work that is unique is answered with what is there already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from executions_app import audit, clock, ids, lifecycle
from executions_app.audit import Actor
from executions_app.states import ExecutionStatus, Trigger
from scheduler_app import admission, dispatcher, fires, labels, unique
from scheduler_app.models import Schedule, UniqueMode
from scheduler_app.policies import OverlapPolicy
from scheduler_app.unique import Duplicate, Granted, Wish


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


def trigger(schedule: Schedule, wanted: Wanted, *, actor: Actor) -> Triggered:
    """Run a schedule now; works on a disabled one.

    While the system is stopped the execution waits, pending, until it is started again. Raises
    StillActive if the overlap policy admits none, MissingValue if a key lacks a parameter.
    """
    with transaction.atomic():
        now = clock.now()
        # The same order as a fire by time: the schedule, the key of unique work, executions.
        list(Schedule.objects.select_for_update().filter(id=schedule.id).values_list("id"))
        triggered = _enter(schedule, wanted, now=now)
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
    if not triggered.is_duplicate:
        dispatcher.release_due_if_running([triggered.execution_id])
    return triggered


def _enter(schedule: Schedule, wanted: Wanted, *, now: datetime) -> Triggered:
    execution_id = ids.new(now)
    born_with = labels.of(schedule, wanted.parameters, due_at=now)
    key = wanted.unique_key or born_with.unique_key
    granted = _granted(schedule, execution_id, key, wanted.parameters, now=now)
    if isinstance(granted, Duplicate):
        return Triggered(granted.execution_id, is_duplicate=True)
    verdict = admission.Verdict()
    if not granted.held_by:  # else it takes the place of one that runs, which is not in its way
        verdict = admission.admit(schedule, override=wanted.overlap)
        verdict.check()
    due_at = granted.due_at or now
    new = fires.new_execution(
        schedule,
        execution_id,
        trigger=wanted.source,
        due_at=due_at,
        status=ExecutionStatus.PENDING,
        parameters=dict(wanted.parameters),
        correlation_id=wanted.correlation_id,
    )
    labelled = dataclasses.replace(
        new,
        held_by=verdict.held_by or granted.held_by,
        limit_key=born_with.limit_key,
        unique_key=key,
        expires_at=labels.expires_at(schedule.run_ttl_ms, due_at=due_at),
    )
    lifecycle.create([labelled])
    return Triggered(execution_id, is_duplicate=False)


def _granted(
    schedule: Schedule,
    execution_id: UUID,
    key: str,
    parameters: Mapping[str, Any],
    *,
    now: datetime,
) -> Granted | Duplicate:
    if not key:
        return Granted(execution_id)
    mode = UniqueMode(schedule.unique_mode)
    wish = Wish(
        execution_id, schedule.owner_id, key, mode, schedule.unique_for_ms, dict(parameters)
    )
    return unique.enter(wish, now=now)
