"""Providers, agents and cycles for tests that ask who carries out what."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from agents_app.models import Agent, Cycle, CycleStage, Provider
from executions_app import clock, ids
from tests.factories import ExecutionFactory

_order = itertools.count()  # cycles of one transaction are made one after the other, too


def make_provider(name: str = "a provider", **changes: Any) -> Provider:
    return Provider.objects.create(name=name, **changes)


def make_agent(name: str, *, provider: Provider | None = None, **changes: Any) -> Agent:
    by = provider or Provider.objects.get_or_create(name="a provider")[0]
    return Agent.objects.create(name=name, provider=by, model="small", **changes)


def make_cycle(
    agent: str | None = None,
    *,
    capabilities: Sequence[str] = (),
    tools: Sequence[str] = (),
    owner: Any = None,
    **changes: Any,
) -> Cycle:
    """A cycle that waits for an agent, unless `changes` say otherwise."""
    config = {
        "goal": "keep it warm",
        "agent": agent,
        "capabilities": list(capabilities),
        "tools": list(tools),
    }
    snapshot = {"name": "warm", "task_type": "agent", "task_config": config, "timeout_ms": 60_000}
    known = {"owner": owner} if owner else {}
    execution = ExecutionFactory.create(snapshot=snapshot, **known)
    now = clock.now()
    values = {
        "id": ids.new(now + timedelta(milliseconds=next(_order))),
        "execution_id": execution.id,
        "owner_id": execution.owner_id,
        "token": uuid4(),
        "stage": CycleStage.WAIT,
        "deadline": now + timedelta(minutes=1),
        **changes,
    }
    return Cycle.objects.create(**values)


def make_busy(agent: Agent, *, places: int) -> list[Cycle]:
    """Running cycles that hold places of an agent."""
    return [make_cycle(stage=CycleStage.EXECUTE, agent_id=agent.id) for _ in range(places)]
