"""Executions that were given up, in numbers: each with its error record and its dead letter."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.models import User

from errors_app.models import DeadLetter, ErrorRecord
from executions_app import clock, ids
from executions_app.models import Execution

SNAPSHOT: Final = {"name": "a job", "task_type": "noop", "timeout_ms": 1000}


def given_up(
    owner: User, number: int = 1, *, max_retries: int = 3, **letter: Any
) -> list[DeadLetter]:
    """As recovery leaves them behind; keywords change the dead letters. In the order of ids."""
    now = clock.now()
    fresh = sorted(islice(ids.stream(now), 3 * number))
    snapshot = {**SNAPSHOT, "retry_policy": {"max_retries": max_retries}}
    values = {"error_class": "permanent", "message": "it broke", **letter}
    executions = [_failed(one, owner, snapshot, now=now) for one in fresh[:number]]
    records = [
        _escalated(one, owner, execution, values)
        for one, execution in zip(fresh[number : 2 * number], executions, strict=True)
    ]
    letters = [
        DeadLetter(
            id=one,
            execution_id=execution.id,
            owner_id=owner.pk,
            payload={"snapshot": snapshot, "parameters": {"order": 7}},
            attempts=4,
            last_error_id=record.id,
            **values,
        )
        for one, execution, record in zip(fresh[2 * number :], executions, records, strict=True)
    ]
    Execution.objects.bulk_create(executions)
    ErrorRecord.objects.bulk_create(records)
    return DeadLetter.objects.bulk_create(letters)


def _failed(id_: UUID, owner: User, snapshot: dict[str, Any], *, now: datetime) -> Execution:
    return Execution(
        id=id_,
        owner_id=owner.pk,
        snapshot=snapshot,
        trigger="manual",
        due_at=now,
        status="failed",
        outcome="error",
        attempt=4,
        max_attempts=4,
        completed_at=now,
        dead_letter_at=now,
    )


def _escalated(id_: UUID, owner: User, execution: Execution, values: dict[str, Any]) -> ErrorRecord:
    return ErrorRecord(
        id=id_,
        execution_id=execution.id,
        owner_id=owner.pk,
        attempt=4,
        ended_at=execution.due_at,
        error_class=values["error_class"],
        exception_type="HandlerError",
        message=values["message"],
        stack="Traceback (most recent call last): ...",
        severity="high",
        recovery_status="escalated",
        fingerprint="f",
    )
