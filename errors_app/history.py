"""The story of one execution, line by line: its events and the errors of its attempts, in order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from errors_app.models import ErrorRecord
from executions_app.models import Event

TOLD_BY_THE_RECORD: Final = "error:recorded"


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
