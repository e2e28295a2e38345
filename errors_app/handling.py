"""What people decide about errors and dead letters: retry, resolve, ignore, escalate, requeue.

Each verb checks the machine in `states`, moves the record with a guarded update, and writes the
audit entry and the event in the same transaction. A retry goes through the engine like any other
attempt: the row becomes due and the dispatcher does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from errors_app import edited_input
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.recovery import OPEN, hold, take_up
from errors_app.telling import told
from executions_app import audit, clock, events, lifecycle
from executions_app.audit import Actor
from executions_app.models import Execution, SystemState
from executions_app.states import (
    ExecutionStatus,
    IllegalMove,
    LostRace,
    Outcome,
    RecoveryStatus,
    check,
)

REQUEUED: Final = "requeued"
DISCARDED: Final = "discarded"
DECIDED: Final = frozenset({Outcome.REJECTED, Outcome.EXPIRED})


def retry(
    record: ErrorRecord,
    *,
    actor: Actor,
    note: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> ErrorRecord:
    """Run the execution of this error again, now: with a new budget if it was given up.

    Its other errors that nobody closed follow it. `parameters` replace its own. Raises IllegalMove
    when the error has no execution or its execution is not waiting to be tried, and
    UnusableParameters.
    """
    if record.execution_id is None:
        raise IllegalMove("This error belongs to no execution; resolve or ignore it instead")
    check(RecoveryStatus(record.recovery_status), RecoveryStatus.RETRYING)
    with transaction.atomic():
        now = clock.now()
        if not lifecycle.due_now([record.execution_id]):
            _requeue(record.execution_id, actor=actor, now=now)
        edited_input.put(record.execution_id, parameters, actor=actor, now=now)
        hold([record.execution_id], *OPEN, RecoveryStatus.ESCALATED)
        _move(record, RecoveryStatus.RETRYING, actor=actor, note=note, now=now)
        take_up([record.execution_id])
    events.announce()
    return record


def resolve(record: ErrorRecord, *, actor: Actor, note: str = "") -> ErrorRecord:
    """The cause is gone. Only the record is closed: its execution and dead letter stay."""
    return _decide(record, RecoveryStatus.RESOLVED, actor=actor, note=note)


def ignore(record: ErrorRecord, *, actor: Actor, note: str = "") -> ErrorRecord:
    """The error does not matter. Only the record is closed: its execution and dead letter stay."""
    return _decide(record, RecoveryStatus.IGNORED, actor=actor, note=note)


def escalate(record: ErrorRecord, *, actor: Actor, note: str = "") -> ErrorRecord:
    """A person has to look at it."""
    return _decide(record, RecoveryStatus.ESCALATED, actor=actor, note=note)


def start_recovery(actor: Actor) -> None:
    """Let retries be dispatched again."""
    _switch_recovery(actor, is_running=True)


def stop_recovery(actor: Actor) -> None:
    """Hold all retries back: they stay pending, and first attempts go on."""
    _switch_recovery(actor, is_running=False)


def _switch_recovery(actor: Actor, *, is_running: bool) -> None:
    with transaction.atomic():
        state = SystemState.objects.filter(error_recovery_running=not is_running)
        if not state.update(error_recovery_running=is_running):
            return
        action = "recovery.started" if is_running else "recovery.stopped"
        audit.record(actor, action, object_type="system", object_id=1, now=clock.now())
        events.emit([events.NewEvent("recovery:status", "system", {"is_running": is_running})])
    events.announce()


def requeue(
    letter: DeadLetter,
    *,
    actor: Actor,
    note: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> DeadLetter:
    """Give a dead execution a new budget of attempts; it is due at once, its errors follow it.

    `parameters` replace its own, and the letter keeps those that failed. Raises
    UnusableParameters.
    """
    with transaction.atomic():
        now = clock.now()
        _requeue(letter.execution_id, actor=actor, now=now)
        edited_input.put(letter.execution_id, parameters, actor=actor, now=now)
        take_up([letter.execution_id])
        letter.refresh_from_db()
        _audit(actor, "dead_letter.requeued", "dead_letter", letter.id, now=now, note=note)
    events.announce()
    return letter


def requeue_execution(
    execution: Execution,
    *,
    actor: Actor,
    note: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> DeadLetter:
    """Requeue by its execution; raises IllegalMove unless that was given up and not yet handled."""
    letter = DeadLetter.objects.filter(execution_id=execution.id, handling="").first()
    if letter is None:
        raise IllegalMove(
            f"Execution #{execution.number} is {execution.status!r} and in no open dead letter; "
            "only what was given up can be retried"
        )
    return requeue(letter, actor=actor, note=note, parameters=parameters)


def discard(letter: DeadLetter, *, actor: Actor, note: str = "") -> DeadLetter:
    """Let a dead execution go; it stays readable and is never run again."""
    with transaction.atomic():
        now = clock.now()
        _close_letter(letter.execution_id, DISCARDED, actor=actor, now=now)
        letter.refresh_from_db()
        _audit(actor, "dead_letter.discarded", "dead_letter", letter.id, now=now, note=note)
    events.announce()
    return letter


def _decide(record: ErrorRecord, target: RecoveryStatus, *, actor: Actor, note: str) -> ErrorRecord:
    check(RecoveryStatus(record.recovery_status), target)
    with transaction.atomic():
        _move(record, target, actor=actor, note=note, now=clock.now())
    events.announce()
    return record


def _move(
    record: ErrorRecord, target: RecoveryStatus, *, actor: Actor, note: str, now: datetime
) -> None:
    before = record.recovery_status
    changes: dict[str, Any] = {
        "recovery_status": target,
        "handled_by_id": actor.user_id,
        "handled_at": now,
        "note": note,
        "updated_at": now,
    }
    seen = ErrorRecord.objects.filter(id=record.id, recovery_status=before)
    if not seen.update(**changes):
        raise LostRace("Somebody else handled this error first; read it again", id=record.id)
    record.refresh_from_db()
    _audit(
        actor,
        f"error.{target.value}",
        "error",
        record.id,
        now=now,
        note=note,
        before={"recovery_status": before},
        after={"recovery_status": target.value},
    )
    events.emit([told("error:updated", record)])


def _requeue(execution_id: UUID, *, actor: Actor, now: datetime) -> None:
    execution = Execution.objects.get(id=execution_id)
    if execution.status == ExecutionStatus.FAILED and execution.outcome in DECIDED:
        raise IllegalMove(
            "This execution was ended by a decision, or because nobody decided in time, and not "
            "given up after its attempts: it cannot be tried again; start a new one"
        )
    budget = int(execution.snapshot.get("retry_policy", {}).get("max_retries", 0)) + 1
    if not lifecycle.requeue([execution_id], budget=budget):
        execution.refresh_from_db(fields=["status"])
        check(ExecutionStatus(execution.status), ExecutionStatus.PENDING)
        raise LostRace("The execution moved meanwhile; read it again", id=execution_id)
    _close_letter(execution_id, REQUEUED, actor=actor, now=now)


def _close_letter(execution_id: UUID, handling: str, *, actor: Actor, now: datetime) -> None:
    if handling == DISCARDED:  # first: executions are locked before dead letters everywhere
        lifecycle.discard([execution_id])
    is_open = DeadLetter.objects.filter(execution_id=execution_id, handling="")
    if not is_open.update(handling=handling, handled_by_id=actor.user_id, handled_at=now):
        raise IllegalMove("This dead letter was requeued or discarded before", id=execution_id)


def _audit(
    actor: Actor,
    action: str,
    object_type: str,
    object_id: UUID,
    *,
    now: datetime,
    note: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    audit.record(
        actor,
        action,
        object_type=object_type,
        object_id=object_id,
        now=now,
        before=before,
        after=after,
        note=note,
    )
