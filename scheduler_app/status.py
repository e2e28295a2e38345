"""How the whole stands: is it dispatching, what is due, queued and running right now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Count, Q

from agents_app import cycle_times
from agents_app.cycle_times import Times
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app import system
from scheduler_app.limiting import limits_in_force
from scheduler_app.limiting.limits_in_force import AGENTS
from scheduler_app.models import Schedule
from scheduler_app.queues import PRIORITY_QUEUES

MOST_CYCLES: Final = 1_000  # it is read often


@dataclass(frozen=True, slots=True)
class Slots:
    """Simultaneous agent runs: how many there are, and may be; None is without a bound."""

    used: int
    max: int | None


@dataclass(frozen=True, slots=True)
class SchedulerStatus:
    """One look; `due` counts schedules and pending executions whose time has come.

    `held` are executions that wait for room, for a key or for others of their schedule. `cycles`
    says how long those of the last hour took, the newest of them, by stage and as a whole.
    """

    state: str
    scheduler_running: bool
    last_tick_at: datetime | None
    due: int
    held: int
    running: int
    queued: dict[str, int]
    slots: Slots
    cycles: Mapping[str, Times]
    problem: str


def read(*, now: datetime) -> SchedulerStatus:
    """The state of the system, from PostgreSQL alone, in seven statements."""
    state = system.read()
    pending = Execution.objects.filter(status=ExecutionStatus.PENDING)
    due = Schedule.objects.filter(enabled=True, next_run_at__lte=now).count()
    due += pending.filter(held_by="", due_at__lte=now).count()
    held = pending.exclude(held_by="").count()
    queued = dict.fromkeys(PRIORITY_QUEUES, 0)
    running = agents = 0
    started = Execution.objects.filter(status__in=[ExecutionStatus.QUEUED, ExecutionStatus.RUNNING])
    is_agent = Q(snapshot__task_type="agent")
    counts = started.values("status", "queue").annotate(
        number=Count("id"), agents=Count("id", filter=is_agent)
    )
    for row in counts.order_by():
        if row["status"] == ExecutionStatus.RUNNING:
            running += row["number"]
            agents += row["agents"]
        else:
            queued[row["queue"]] = row["number"]
    return SchedulerStatus(
        state=state.status,
        scheduler_running=state.scheduler_running,
        last_tick_at=state.scheduler_last_tick_at,
        due=due,
        held=held,
        running=running,
        queued=queued,
        slots=Slots(used=agents, max=limits_in_force.fresh().by_key[AGENTS].most),
        cycles=cycle_times.ended_lately(now, most=MOST_CYCLES).times,
        problem=state.problem,
    )
