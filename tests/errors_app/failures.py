"""Error records of schedules that were never there, made as recovery makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from errors_app.models import ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError, classify
from executions_app import clock, ids


def fail(
    message: str = "the endpoint answered 503",
    *,
    schedule_id: UUID | None = None,
    owner_id: int | None = 1,
    error_class: ErrorClass = ErrorClass.TRANSIENT,
    at: datetime | None = None,
    **columns: Any,
) -> ErrorRecord:
    """One failed attempt at an instant, which no incident has counted yet."""
    now = at or clock.now()
    failure = classify(HandlerError(message, error_class=error_class))
    return ErrorRecord.objects.create(
        id=ids.new(clock.now()),
        schedule_id=schedule_id,
        owner_id=owner_id,
        ended_at=now,
        error_class=failure.error_class,
        exception_type=failure.exception_type,
        message=failure.message,
        fingerprint=failure.fingerprint,
        context={"name": "a job"},
        recovery_status="escalated",
        **{"severity": failure.severity, **columns},
    )
