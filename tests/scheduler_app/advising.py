"""Cycles that have advice to give, as the AI leaves them for a beat."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from agents_app.models import Cycle
from executions_app import clock, ids
from executions_app.models import Execution
from scheduler_app import adoption
from scheduler_app.clamping import as_text
from scheduler_app.models import Schedule, ScheduleDecision
from tests.factories import ExecutionFactory

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def advise(
    schedule: Schedule,
    *,
    autonomy: str = "auto",
    source: str = "model",
    nominal_at: datetime | None = None,
    trigger: str = "time",
    limits: tuple[timedelta, timedelta] = (MINUTE, 24 * HOUR),
    **advice: Any,
) -> Cycle:
    """A cycle of `schedule` as it is now, which advises `next_run_at`, `interval_ms` or a pause."""
    now = clock.now()
    ran: Execution = ExecutionFactory.create(
        owner=schedule.owner, schedule_id=schedule.id, trigger=trigger, nominal_at=nominal_at
    )
    words = {key: as_text(one) if isinstance(one, datetime) else one for key, one in advice.items()}
    action = {"interval_ms": "interval", "pause_until": "pause", "next_run_at": "next_run_at"}
    named = next((action[key] for key in words if key in action), "keep")
    cycle = Cycle(
        id=ids.new(now),
        execution_id=ran.id,
        schedule_id=schedule.id,
        owner_id=schedule.owner_id,
        token=ids.new(now),
        deadline=now + HOUR,
        started_at=now,
        seen_version=schedule.version,
        seen_next_run_at=schedule.next_run_at,
        advice={
            "source": source,
            "advice": {"action": named, "reason": "it is quiet", "confidence": 0.8, **words},
            "autonomy": autonomy,
            "min_interval_ms": limits[0] // timedelta(milliseconds=1),
            "max_interval_ms": limits[1] // timedelta(milliseconds=1),
            "proposed_at": as_text(now),
        },
    )
    cycle.save(force_insert=True)
    return cycle


def decided(cycle: Cycle) -> ScheduleDecision:
    """What a beat makes of it."""
    assert adoption.adopt_advice(clock.now()) == 1
    return made_of(cycle)


def made_of(cycle: Cycle) -> ScheduleDecision:
    """The decision that was made of it."""
    cycle.refresh_from_db()
    assert cycle.decision_id is not None
    return ScheduleDecision.objects.get(id=cycle.decision_id)
