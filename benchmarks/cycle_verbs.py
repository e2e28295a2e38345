"""Within the measured installation: an agent, its endpoints, and cycles that it carries out."""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction

from agents_app.models import Agent, Credential, Cycle, Endpoint, Provider
from agents_app.objects import agents, credentials, endpoints, providers
from benchmarks.model import ENDPOINTS
from errors_app.models import ErrorRecord
from executions_app import clock, ids, lifecycle
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from executions_app.outbox import Message
from executions_app.states import ExecutionStatus, Trigger
from scheduler_app import definition, queues

NAME: Final = "benchmark"
GIVE_UP_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.05  # outcomes say when they came; to look costs what is measured
CONFIG: Final = {
    "goal": "call every endpoint once",
    "agent": NAME,
    "endpoints": list(ENDPOINTS),
    "autonomy": "shadow",
}


def agent(*, model_url: str, endpoint_url: str, places: int) -> dict[str, Any]:
    """One agent with so many places, its provider, and five endpoints."""
    owner = get_user_model().objects.get(username=NAME)
    for rows in (Agent, Provider, Endpoint, Credential):
        rows._default_manager.all().delete()  # noqa: SLF001  the manager whatever its name
    credentials.create(
        {"name": NAME, "value": "key", "hosts": [urlsplit(model_url).netloc]},
        owner_id=None,
        actor=SYSTEM,
    )
    providers.create({"name": NAME, "base_url": model_url, "credential": NAME}, actor=SYSTEM)
    agents.create(
        {"name": NAME, "provider": NAME, "model": NAME, "max_concurrent": places}, actor=SYSTEM
    )
    for one in ENDPOINTS:
        endpoints.create(
            {"name": one, "method": "GET", "url": endpoint_url}, owner_id=owner.pk, actor=SYSTEM
        )
    return {}


def cycles(*, count: int, at_once: bool) -> dict[str, Any]:
    """Cycles, all published together or each once the one before has ended.

    Answers for each how long it took from its message to its outcome, in milliseconds, and of all
    when they held a place of the agent, in seconds since the epoch.
    """
    sent: dict[UUID, float] = {}
    for _ in range(1 if at_once else count):
        some = [_create() for _ in range(count if at_once else 1)]
        sent |= dict.fromkeys(some, time.time())
        queues.publish([Message(one, "normal") for one in some])
        _until_ended(some)
    made = list(sent)
    rows = Execution.objects.filter(id__in=made).values_list("id", "completed_at")
    ended = {one: at.timestamp() for one, at in rows if at}
    held = Cycle.objects.filter(execution_id__in=made).values_list("started_at", "completed_at")
    outcomes = list(Execution.objects.filter(id__in=made).values_list("outcome", flat=True))
    reasons = ErrorRecord.objects.filter(execution_id__in=made).values_list("message", "stack")
    return {
        "took_ms": [(ended[one] - sent[one]) * 1000 for one in made],
        "held": [(began.timestamp(), over.timestamp()) for began, over in held if over],
        "ok": outcomes.count("ok"),
        "reason": str(reasons.first() or ""),
    }


def _create() -> UUID:
    owner, now = get_user_model().objects.get(username=NAME), clock.now()
    made = ids.new(now)
    snapshot = {
        "name": NAME,
        "timeout_ms": 300_000,
        "overlap_policy": "skip",
        "version": 1,
        "task_type": "agent",
        "task_config": CONFIG,
        "retry_policy": definition.completed_policy({}).model_dump(mode="json"),
    }
    with transaction.atomic():
        lifecycle.create(
            [
                lifecycle.NewExecution(
                    id=made,
                    schedule_id=made,  # of none: the last stage then has somebody to advise
                    owner_id=owner.pk,
                    snapshot=snapshot,
                    trigger=Trigger.MANUAL,
                    priority="normal",
                    max_attempts=4,
                    due_at=now,
                    status=ExecutionStatus.QUEUED,
                )
            ]
        )
    return made


def _until_ended(made: list[UUID]) -> None:
    ends = time.monotonic() + GIVE_UP_SECONDS
    left = Execution.objects.filter(id__in=made, completed_at__isnull=True)
    while left.exists():
        if time.monotonic() > ends:
            raise TimeoutError(f"{left.count()} of {len(made)} cycles did not end in time")
        time.sleep(LOOK_SECONDS)
