"""Cycles whose plan a person is asked about: made by the real plan stage, without any model."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from agents_app.cycle import begin, holder, stages
from agents_app.models import Cycle, PlanApproval
from agents_app.objects import endpoints
from executions_app import clock, lifecycle
from executions_app.audit import SYSTEM, Actor
from executions_app.models import Execution
from tests import verbs
from tests.agents_app.agents import make_agent
from tests.factories import ExecutionFactory, UserFactory

READS: dict[str, Any] = {"name": "look", "url": "http://127.0.0.1:9/look"}
WRITES: dict[str, Any] = {
    "name": "purge",
    "url": "http://127.0.0.1:9/purge",
    "method": "POST",
}


def owner(**words: Any) -> User:
    """Somebody with an endpoint that reads and one that changes something."""
    made: User = UserFactory.create(**words)
    for one in (READS, WRITES):
        endpoints.create(one, owner_id=made.pk, actor=SYSTEM)
    return made


def queued(user: User, *, approve_plan: str = "always", **words: Any) -> UUID:
    """An execution of an agent that is to call both, or what `endpoints` says."""
    config = {
        "goal": "keep it warm",
        "endpoints": words.pop("endpoints", ["look", "purge"]),
        "approve_plan": approve_plan,
    }
    snapshot = {
        "name": "warm the caches",
        "task_type": "agent",
        "task_config": config,
        "timeout_ms": 60_000,
        "retry_policy": {"max_retries": 3},
    }
    made: Execution = ExecutionFactory.create(owner=user, snapshot=snapshot, **words)
    return made.id


def begun(execution_id: UUID) -> Cycle:
    """A worker has claimed it, and its cycle has begun or goes on."""
    (held,) = lifecycle.claim([execution_id], worker_id="a worker")
    begin.begin(held, holder.config_of(held))
    return Cycle.objects.get(execution_id=execution_id)


def planned(execution_id: UUID) -> Cycle:
    """The same, and its plan stage is over; no model answers, so all endpoints are the plan."""
    cycle = begun(execution_id)
    stages.run_stage(cycle.id)
    cycle.refresh_from_db()
    return cycle


def waiting(user: User | None = None, **words: Any) -> PlanApproval:
    """A plan that waits for a person."""
    cycle = planned(queued(user or owner(), **words))
    return PlanApproval.objects.get(execution_id=cycle.execution_id)


def execution_of(approval: PlanApproval) -> Execution:
    return Execution.objects.get(id=approval.execution_id)


def cycle_of(approval: PlanApproval) -> Cycle:
    return Cycle.objects.get(id=approval.cycle_id)


def by(user: User) -> Actor:
    return Actor.of(user)


def goes_on(approval: PlanApproval) -> Cycle:
    """What was approved is queued, and claimed by a worker."""
    verbs.queue_due(limit=10, ids=[approval.execution_id])
    return begun(approval.execution_id)


def late(approval: PlanApproval) -> PlanApproval:
    """Nobody has answered in time."""
    PlanApproval.objects.filter(id=approval.id).update(expires_at=clock.now())
    approval.refresh_from_db()
    return approval


def an_agent(**words: Any) -> None:
    make_agent("warmer", **words)
