"""Cycles that a model (or what stands in for one) has really decided, stage by stage, in rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from django.contrib.auth.models import User

from agents_app.cycle import advising, holder, making, spent
from agents_app.cycle.keeping import Work
from agents_app.models import Agent, Cycle, ModelCall, Provider
from agents_app.objects import endpoints
from executions_app import clock, ids
from executions_app.audit import SYSTEM
from executions_app.models import Execution, Step
from executions_app.states import ExecutionStatus
from scheduler_app.models import Schedule
from tests.agents_app.agents import make_agent
from tests.agents_app.asking import provider_of
from tests.factories import ExecutionFactory, ScheduleFactory
from tests.fakes.model_server import ModelServer

NAMES: Final = ("warm-eu", "warm-us")
HOUR_MS: Final = 3_600_000
ADVICE: Final[dict[str, Any]] = {
    "action": "interval",
    "next_run_at": None,
    "interval_ms": 2 * HOUR_MS,
    "pause_until": None,
    "reason": "it stays warm",
    "confidence": 0.8,
    "recommended_actions": [],
}


def step(id_: str, name: str, *after: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "target": "endpoint",
        "name": name,
        "parameters_json": "{}",
        "depends_on": list(after),
        "priority": 50,
        "critical": False,
        "reason": "it cools",
        **more,
    }


def plan(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "strategy": "dependency",
        "concurrency": 2,
        "steps": list(steps) or [step("a", "warm-eu"), step("b", "warm-us", "a")],
        "reason": "both cool",
        "confidence": 0.9,
        **more,
    }


def an_agent(server: ModelServer) -> Agent:
    return make_agent("warmer", provider=provider_of(server))


def a_schedule(owner: User, *, names: tuple[str, ...] = NAMES, **config: Any) -> Schedule:
    """An hourly schedule of the agent, whose endpoints are registered."""
    for name in names:
        words = {"name": name, "url": f"https://caches.example.com/{name}"}
        endpoints.create(words, owner_id=owner.pk, actor=SYSTEM)
    made: Schedule = ScheduleFactory.create(
        owner=owner,
        name="warm the caches",
        schedule_config={"interval_ms": HOUR_MS},
        task_type="agent",
        task_config={
            "goal": "keep the caches warm",
            "endpoints": list(names),
            "agent": "warmer",
            **config,
        },
    )
    return made


def a_decided_cycle(schedule: Schedule, agent: Agent) -> Cycle:
    """A cycle whose plan and advice were asked for as in production; its steps went well."""
    now = clock.now()
    ran: Execution = ExecutionFactory.create(
        owner=schedule.owner,
        schedule_id=schedule.id,
        status=ExecutionStatus.RUNNING,
        nominal_at=now,
        snapshot={
            "name": schedule.name,
            "task_type": "agent",
            "task_config": schedule.task_config,
            "schedule_config": schedule.schedule_config,
            "timezone": "UTC",
            "timeout_ms": 60_000,
        },
    )
    assert ran.lease_token is not None
    cycle = Cycle.objects.create(
        id=ids.new(now),
        execution_id=ran.id,
        schedule_id=schedule.id,
        owner_id=schedule.owner_id,
        agent_id=agent.id,
        token=ran.lease_token,
        deadline=now + timedelta(minutes=1),
        started_at=now,
        seen_version=schedule.version,
        seen_next_run_at=schedule.next_run_at,
    )
    _decide(cycle)
    return Cycle.objects.get(id=cycle.id)


def _decide(cycle: Cycle) -> None:
    work = Work(
        cycle.id,
        uuid4(),
        execution_id=cycle.execution_id,
        deadline=cycle.deadline,
        is_stage=True,
    )
    made = making.make(cycle, holder.of(cycle), work)
    making.store(cycle, made)
    Step.objects.filter(execution_id=cycle.execution_id).update(status="completed", result={})
    _store(cycle, summary="All of it is warm.", **made.columns())
    _store(cycle, **advising.advise(cycle, work))
    _store(cycle, status="completed", stage="done", **spent.totals(cycle))


def _store(cycle: Cycle, **changes: Any) -> None:
    Cycle.objects.filter(id=cycle.id).update(**changes)
    cycle.refresh_from_db()


def everything() -> dict[str, list[dict[str, Any]]]:
    """All rows that a replay might change."""
    kinds: tuple[Any, ...] = (Cycle, ModelCall, Schedule, Execution, Step, Provider, Agent)
    return {kind.__name__: list(kind.objects.order_by("pk").values()) for kind in kinds}
