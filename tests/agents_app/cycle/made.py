"""Cycles of an agent with one endpoint, whose plan stage is carried out as a worker does it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from agents_app.cycle import begin, holder, stages
from agents_app.models import Cycle
from executions_app import lifecycle
from tests.agents_app.endpoints import registered
from tests.factories import ExecutionFactory, UserFactory

GOAL = "keep it warm"


def an_owner() -> User:
    """Somebody with an endpoint `alpha`, which nobody calls."""
    user: User = UserFactory.create()
    registered("http://127.0.0.1:9/alpha", owner=user, name="alpha")
    return user


def begun(owner: User, *, schedule_id: UUID | None = None, **config: Any) -> Cycle:
    """A worker has claimed an execution for the agent `one`, and its cycle has begun."""
    words = {"goal": GOAL, "endpoints": ["alpha"], "agent": "one", **config}
    snapshot = {
        "name": "warm",
        "task_type": "agent",
        "task_config": {name: value for name, value in words.items() if value is not None},
        "timeout_ms": 60_000,
        "retry_policy": {"max_retries": 0},
    }
    execution = ExecutionFactory.create(owner=owner, snapshot=snapshot, schedule_id=schedule_id)
    (held,) = lifecycle.claim([execution.id], worker_id="a worker")
    begin.begin(held, holder.config_of(held))
    return Cycle.objects.get(execution_id=execution.id)


def gone_on(cycle: Cycle) -> Cycle:
    """The stage that it stands at is carried out."""
    stages.run_stage(cycle.id)
    return Cycle.objects.get(id=cycle.id)
