"""Held executions to fail in every way."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from executions_app import clock, ids, lifecycle
from executions_app.ledger import Claimed
from executions_app.states import ExecutionStatus

RNG = random.Random(7)


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_user("operator")


@pytest.fixture
def held(operator: User) -> Callable[..., Claimed]:
    """An execution that a worker holds; keywords change its retry policy."""

    def make(**policy: Any) -> Claimed:
        now = clock.now()
        retry_policy = {"max_retries": 3, "base_ms": 1000, "cap_ms": 300_000, **policy}
        execution = lifecycle.NewExecution(
            id=ids.new(now),
            schedule_id=None,
            owner_id=operator.pk,
            snapshot={
                "name": "a job",
                "task_type": "noop",
                "timeout_ms": 1000,
                "retry_policy": retry_policy,
            },
            trigger="time",
            due_at=now,
            priority="normal",
            max_attempts=retry_policy["max_retries"] + 1,
            status=ExecutionStatus.QUEUED,
        )
        with transaction.atomic():
            lifecycle.create([execution])
        (claimed,) = lifecycle.claim([execution.id], worker_id="worker-1")
        return claimed

    return make
