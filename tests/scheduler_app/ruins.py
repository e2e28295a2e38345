"""Executions that were given up, in numbers: each with its error record and its dead letter."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.contrib.auth.models import User

from errors_app.models import DeadLetter, ErrorRecord
from executions_app import clock, ids
from executions_app.models import Execution


def given_up(
    owner: User, number: int = 1, *, max_retries: int = 3, **letter: Any
) -> list[DeadLetter]:
    """As recovery leaves them behind; keywords change the dead letters. In the order of ids."""
    now = clock.now()
    fresh = islice(ids.stream(now), 3 * number)
    names = sorted(fresh)
    snapshot = {
        "name": "a job",
        "task_type": "noop",
        "timeout_ms": 1000,
        "retry_policy": {"max_retries": max_retries},
    }
    values = {"error_class": "permanent", "message": "it broke", **letter}
    executions = [
        Execution(
            id=one,
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
        for one in names[:number]
    ]
    records = [
        ErrorRecord(
            id=id_,
            execution_id=one.id,
            owner_id=owner.pk,
            attempt=4,
            ended_at=now,
            error_class=values["error_class"],
            exception_type="HandlerError",
            message=values["message"],
            stack="Traceback (most recent call last): ...",
            severity="high",
            recovery_status="escalated",
            fingerprint="f",
        )
        for id_, one in zip(names[number : 2 * number], executions, strict=True)
    ]
    letters = [
        DeadLetter(
            id=id_,
            execution_id=one.id,
            owner_id=owner.pk,
            payload={"snapshot": snapshot, "parameters": {"order": 7}},
            attempts=4,
            last_error_id=record.id,
            **values,
        )
        for id_, one, record in zip(names[2 * number :], executions, records, strict=True)
    ]
    Execution.objects.bulk_create(executions)
    ErrorRecord.objects.bulk_create(records)
    return DeadLetter.objects.bulk_create(letters)
