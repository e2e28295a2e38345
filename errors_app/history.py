"""The story of one execution: its events and the errors of its attempts, in order."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet, TextField
from django.db.models.expressions import RawSQL

from errors_app.models import SURVIVED, DeadLetter, ErrorRecord
from executions_app.models import Event, Execution
from executions_app.states import ExecutionStatus

TOLD_BY_THE_RECORD: Final = "error:recorded"
MOST_ATTEMPTS: Final = 100


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened; `detail` holds a stack, where there is one."""

    id: UUID
    at: datetime
    type: str
    data: dict[str, Any]
    detail: str = ""


def lines(execution_id: UUID, *, seen: Collection[UUID] = ()) -> list[Line]:
    """What happened to an execution, oldest first, without the lines that the caller has seen."""
    happened = Event.objects.filter(execution_id=execution_id).exclude(type=TOLD_BY_THE_RECORD)
    failed = ErrorRecord.objects.filter(execution_id=execution_id)
    found = [Line(one.id, one.created_at, one.type, one.data) for one in happened]
    found += [
        Line(one.id, one.created_at, TOLD_BY_THE_RECORD, _of_error(one), one.stack)
        for one in failed
    ]
    return sorted((one for one in found if one.id not in seen), key=lambda one: (one.at, one.id))


def _of_error(record: ErrorRecord) -> dict[str, Any]:
    return {
        "error_id": str(record.id),
        "attempt": record.attempt,
        "error_class": record.error_class,
        "message": record.message,
        "severity": record.severity,
        "recovery_status": record.recovery_status,
        "retry_at": record.retry_at.isoformat() if record.retry_at else None,
    }


@dataclass(frozen=True, slots=True)
class Outlook:
    """What has become of the execution of an error; `tried_at`: when it is tried again, if it is.

    `status` is None where retention has let it go, or there was none.
    """

    number: int | None = None
    status: str | None = None
    tried_at: datetime | None = None


def outlooks(records: Iterable[ErrorRecord]) -> dict[UUID, Outlook]:
    """The outlook of each error, by its id: closing a record stops nothing. One query."""
    of_error = {one.id: one.execution_id for one in records}
    rows = Execution.objects.filter(id__in={one for one in of_error.values() if one is not None})
    found = {
        id_: Outlook(number, status, due_at if status == ExecutionStatus.PENDING else None)
        for id_, number, status, due_at in rows.values_list("id", "number", "status", "due_at")
    }
    return {
        id_: found.get(execution_id, Outlook()) if execution_id else Outlook()
        for id_, execution_id in of_error.items()
    }


def letters_of(schedule_name: str) -> QuerySet[DeadLetter]:
    """The dead letters of schedules of that name, as it was; an index finds them by these words."""
    name = RawSQL("payload #>> '{snapshot,name}'", (), output_field=TextField())
    return DeadLetter.objects.annotate(schedule_name=name).filter(schedule_name=schedule_name)


@dataclass(frozen=True, slots=True)
class Story:
    """What led to a dead letter, and what has become of its execution since."""

    execution_status: str | None
    last_error: ErrorRecord | None
    failed_attempts: list[ErrorRecord]


def of_letter(letter: DeadLetter) -> Story:
    """The failed attempts of its execution, the last MOST_ATTEMPTS of them, oldest first.

    What retention has let go is None, or not among them.
    """
    of_execution = ErrorRecord.objects.filter(execution_id=letter.execution_id)
    failed = of_execution.exclude(SURVIVED).order_by("-id")
    attempts = sorted(failed[:MOST_ATTEMPTS], key=lambda one: (one.attempt, one.id))
    last = next((one for one in attempts if one.id == letter.last_error_id), None)
    if last is None and letter.last_error_id is not None:
        last = ErrorRecord.objects.filter(id=letter.last_error_id).first()
    execution = Execution.objects.filter(id=letter.execution_id)
    return Story(execution.values_list("status", flat=True).first(), last, attempts)
