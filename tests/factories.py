"""Users, schedules and executions for tests, made by the product's own functions."""

# factory-boy annotates its classes only.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from factory.base import Factory
from factory.declarations import Sequence, SubFactory
from factory.django import DjangoModelFactory

from executions_app import clock, ids, lifecycle
from executions_app.audit import Actor
from executions_app.lifecycle import NewExecution
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app import definition, schedules
from scheduler_app.models import Schedule


class UserFactory(DjangoModelFactory[User]):
    """A person; `UserFactory.create(is_superuser=True)` sees everything."""

    class Meta:
        model = User

    username = Sequence(lambda number: f"user-{number}")


class ScheduleFactory(Factory[Schedule]):
    """A stored schedule; every keyword of a definition can be given."""

    class Meta:
        model = Schedule

    owner = SubFactory(UserFactory)
    name = Sequence(lambda number: f"schedule-{number}")
    schedule_type = "interval"
    schedule_config = {"interval_ms": 60_000}
    task_type = "http_request"
    task_config = {"url": "http://127.0.0.1:1/"}

    @classmethod
    def _create(  # type: ignore[override]  # narrower: what this factory declares
        cls, _model: type[Schedule], *_args: Any, owner: User, **words: Any
    ) -> Schedule:
        parsed = definition.parse(words)
        return schedules.create(parsed, owner_id=owner.pk, actor=Actor.of(owner))


class ExecutionFactory(Factory[Execution]):
    """A recorded execution; with status `running` a worker holds it."""

    class Meta:
        model = Execution

    owner = SubFactory(UserFactory)
    status = ExecutionStatus.QUEUED
    name = "a job"
    worker_id = "worker-host:4711:9f1c2d3e"

    @classmethod
    def _create(  # type: ignore[override]  # narrower: what this factory declares
        cls,
        _model: type[Execution],
        *_args: Any,
        owner: User,
        status: ExecutionStatus,
        name: str,
        worker_id: str,
        **changes: Any,
    ) -> Execution:
        now = clock.now()
        is_running = status is ExecutionStatus.RUNNING
        values = {
            "id": ids.new(now),
            "schedule_id": None,
            "owner_id": owner.pk,
            "snapshot": {"name": name, "task_type": "noop", "timeout_ms": 1000},
            "trigger": "manual",
            "due_at": now,
            "priority": "normal",
            "max_attempts": 4,
            "status": ExecutionStatus.QUEUED if is_running else status,
            **changes,
        }
        with transaction.atomic():
            lifecycle.create([NewExecution(**values)])
        if is_running:
            lifecycle.claim([values["id"]], worker_id=worker_id)
        return Execution.objects.get(id=values["id"])
