"""What tests of the worker's side share: executions of a scripted handler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper

from agents_app.handlers import registry
from agents_app.handlers.base import Context
from executions_app import clock, ids, lifecycle
from executions_app.states import ExecutionStatus
from tests.agents_app.scripted import Anything, Queue, Scripted


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Scripted]]:
    monkeypatch.setitem(registry._registered, "scripted", Scripted)
    Scripted.started.clear()
    Scripted.told_to_cancel.clear()
    yield Scripted
    Scripted.script = staticmethod(lambda _: None)


@pytest.fixture
def queue(scripted: type[Scripted]) -> Queue:
    owner = User.objects.create_user("owner")

    def make(
        script: Callable[[Context[Anything]], Any] = lambda _: None,
        *,
        task_type: str = "scripted",
        task_config: object = None,
        timeout_ms: int = 60_000,
        max_retries: int = 0,
        cap_ms: int = 300_000,
    ) -> UUID:
        scripted.script = staticmethod(script)
        now = clock.now()
        execution = lifecycle.NewExecution(
            id=ids.new(now),
            schedule_id=None,
            owner_id=owner.pk,
            snapshot={
                "name": "a job",
                "task_type": task_type,
                "task_config": task_config or {},
                "timeout_ms": timeout_ms,
                "retry_policy": {"max_retries": max_retries, "base_ms": 1, "cap_ms": cap_ms},
            },
            trigger="time",
            due_at=now,
            priority="normal",
            max_attempts=max_retries + 1,
            status=ExecutionStatus.QUEUED,
        )
        with transaction.atomic():
            lifecycle.create([execution])
        return execution.id

    return make


@pytest.fixture
def pooled(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseWrapper]:
    """The connection, from a pool, as in a worker with threads."""
    connection.close()
    with monkeypatch.context() as of_a_worker:
        of_a_worker.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
        of_a_worker.setitem(connection.settings_dict["OPTIONS"], "pool", {"min_size": 1})
        wrapper = connections["default"]
        assert isinstance(wrapper, DatabaseWrapper)
        yield wrapper
        wrapper.close()
        wrapper.close_pool()
