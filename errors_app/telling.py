"""The event by which people hear of a failed attempt and of what becomes of its error record."""

from __future__ import annotations

from typing import Any

from errors_app.models import ErrorRecord
from executions_app import events


def told(type_: str, record: ErrorRecord) -> events.NewEvent:
    """The event that tells of an error record."""
    data: dict[str, Any] = {
        "error_class": record.error_class,
        "message": record.message,
        "severity": record.severity,
        "recovery_status": record.recovery_status,
        "attempt": record.attempt,
        "retry_at": record.retry_at.isoformat() if record.retry_at else None,
        "name": record.context.get("name"),
    }
    return events.NewEvent(
        type=type_,
        topic=f"error:{record.id}",
        data=data,
        owner_id=record.owner_id,
        schedule_id=record.schedule_id,
        execution_id=record.execution_id,
        severity=record.severity,
    )
