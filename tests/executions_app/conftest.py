"""Executions to move about, without any schedule behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from executions_app import clock, ids, lifecycle
from executions_app.ledger import Claimed
from executions_app.states import ExecutionStatus

Create = Callable[..., UUID]


@pytest.fixture
def create() -> Create:
    """Record one execution; `status` is pending or queued."""

    def make(status: ExecutionStatus = ExecutionStatus.QUEUED, **changes: Any) -> UUID:
        now = clock.now()
        values: dict[str, Any] = {
            "id": ids.new(now),
            "schedule_id": None,
            "owner_id": 1,
            "snapshot": {"name": "a job", "task_type": "noop", "timeout_ms": 1000},
            "trigger": "time",
            "due_at": now,
            "priority": "normal",
            "max_attempts": 4,
            "status": status,
        }
        values.update(changes)
        with transaction.atomic():
            lifecycle.create([lifecycle.NewExecution(**values)])
        execution_id: UUID = values["id"]
        return execution_id

    return make


@pytest.fixture
def claim(create: Create) -> Callable[..., Claimed]:
    """Record one execution and claim it."""

    def make(**changes: Any) -> Claimed:
        (claimed,) = lifecycle.claim([create(**changes)], worker_id="worker-1")
        return claimed

    return make
