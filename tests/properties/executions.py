"""Executions to be moved about, without any schedule behind them."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction

from executions_app import clock, ids, lifecycle
from executions_app.states import ExecutionStatus


def record_executions(count: int, *, owner: User, budget: int = 4) -> list[UUID]:
    """Queued executions of `owner`, tried again almost at once when they fail."""
    now = clock.now()
    policy = {"max_retries": budget - 1, "base_ms": 1, "cap_ms": 1}
    new = [
        lifecycle.NewExecution(
            id=ids.new(now),
            schedule_id=None,
            owner_id=owner.pk,
            snapshot={"name": "a job", "task_type": "noop", "retry_policy": policy},
            trigger="manual",
            due_at=now,
            priority="normal",
            max_attempts=budget,
            status=ExecutionStatus.QUEUED,
        )
        for _ in range(count)
    ]
    with transaction.atomic():
        lifecycle.create(new)
    return [one.id for one in new]
