"""A whole cycle as rows: two steps, three calls of a model, a plan with reasons."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User

from agents_app.models import Agent, Cycle, ModelCall, Provider
from executions_app import clock, ids
from executions_app.models import Execution, Step
from tests.factories import ExecutionFactory

SECOND = timedelta(seconds=1)


def an_agents_execution(owner: User, **changes: Any) -> Execution:
    snapshot = {"name": "warm the caches", "task_type": "agent", "timeout_ms": 60_000}
    made: Execution = ExecutionFactory.create(owner=owner, snapshot=snapshot, **changes)
    return made


def a_cycle(execution: Execution, *, tier: str = "model", **changes: Any) -> Cycle:
    """The cycle of an execution, with an agent, its steps and its calls."""
    now = clock.now()
    provider, _ = Provider.objects.get_or_create(name="openai")
    agent, _ = Agent.objects.get_or_create(name="keeper", provider=provider, model="small")
    words: dict[str, Any] = {
        "strategy": "parallel",
        "concurrency": 2,
        "waves": 1,
        "tier_reason": "" if tier == "model" else "the model did not answer",
        "plan": {
            "strategy": "parallel",
            "reason": "both are independent",
            "confidence": 0.9,
            "steps": [
                {"id": "warm-eu", "reason": "Europe wakes first"},
                {"id": "warm-us", "reason": ""},
            ],
        },
        "summary": "one of two is warm",
        "notes": ["a step with an unknown endpoint was left out"],
        "timings": {"plan": 1200, "execute": 300},
        "prompt_tokens": 900,
        "completion_tokens": 120,
        "cost_usd": Decimal("0.0123"),
        **changes,
    }
    cycle = Cycle(
        id=ids.new(now),
        execution_id=execution.id,
        schedule_id=execution.schedule_id,
        owner_id=execution.owner_id,
        agent_id=agent.id,
        token=ids.new(now),
        deadline=now + 60 * SECOND,
        tier=tier,
        **words,
    )
    cycle.save(force_insert=True)
    _steps(execution)
    _calls(cycle)
    return cycle


def _steps(execution: Execution) -> None:
    now = clock.now()
    ends = (("warm-eu", "completed", 2, ""), ("warm-us", "failed", 3, "HTTP 503"))
    for position, (name, status, seconds, reason) in enumerate(ends):
        Step.objects.create(
            id=ids.new(now),
            execution_id=execution.id,
            position=position,
            name=name,
            status=status,
            reason=reason,
            attempt=1,
            queued_at=now - 5 * SECOND,
            started_at=now - 4 * SECOND,
            completed_at=now - 4 * SECOND + seconds * SECOND,
            result={"status": 200} if status == "completed" else None,
        )


def _calls(cycle: Cycle) -> None:
    now = clock.now()
    calls = (
        ("plan", "malformed", "semantic_violation", False),
        ("plan", "ok", "", True),
        ("summarise", "ok", "", False),
    )
    for number, (phase, status, malformed, is_repair) in enumerate(calls):
        ModelCall.objects.create(
            id=ids.new(now + number * SECOND),
            execution_id=cycle.execution_id,
            cycle_id=cycle.id,
            owner_id=cycle.owner_id,
            provider="openai",
            model="small",
            phase=phase,
            status=status,
            malformed_class=malformed,
            is_repair=is_repair,
            prompt_tokens=300,
            completion_tokens=40,
            latency_ms=420,
            request=[{"role": "user", "content": "the whole prompt"}],
            response="the whole answer",
        )
