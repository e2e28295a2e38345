"""The state of the whole: idle, running, paused or error; started and stopped by a person."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from executions_app import audit, clock, events, prepared
from executions_app.models import SystemState
from executions_app.states import SystemStatus
from scheduler_app.models import Schedule

SURE_SECONDS: Final = 5.0  # beats that disagree about Redis must not take turns in saying so

# The rule of `_status`, where there is no problem.
ALL_IS_WELL: Final = """
UPDATE system_state SET scheduler_last_tick_at = %s
WHERE problem = '' AND status = CASE
    WHEN NOT scheduler_running THEN 'paused'
    WHEN EXISTS (SELECT FROM task_schedules WHERE enabled) THEN 'running'
    ELSE 'idle'
END
"""


def read() -> SystemState:
    """The one row."""
    return SystemState.objects.get()


def start(actor: audit.Actor) -> SystemState:
    """Resume dispatch; work that came due meanwhile follows its catch-up policy."""
    return _switch(actor, is_running=True)


def stop(actor: audit.Actor) -> SystemState:
    """Halt dispatch: running work goes on, nothing new is queued until `start`."""
    return _switch(actor, is_running=False)


def _switch(actor: audit.Actor, *, is_running: bool) -> SystemState:
    with transaction.atomic():
        state = SystemState.objects.select_for_update().get()
        if state.scheduler_running != is_running:
            now = clock.now()
            audit.record(
                actor,
                "system.started" if is_running else "system.stopped",
                object_type="system",
                object_id=1,
                now=now,
                before={"scheduler_running": state.scheduler_running},
                after={"scheduler_running": is_running},
            )
            state.scheduler_running = is_running
            state.save(update_fields=["scheduler_running"])
            _settle_status(state, problem=state.problem)
    events.announce()
    return state


def note_tick(*, problem: str, now: datetime) -> None:
    """Record that a beat looked at the clock, and what kept it from dispatching, if anything.

    A problem is over once no beat has had it for SURE_SECONDS. One statement where all stays as
    it is.
    """
    if not problem and prepared.execute(ALL_IS_WELL, [now]).rowcount:
        return
    with transaction.atomic():
        state = SystemState.objects.select_for_update().get()
        state.scheduler_last_tick_at = now
        if problem:
            state.problem_seen_at = now
        state.save(update_fields=["scheduler_last_tick_at", "problem_seen_at"])
        last_at = state.problem_seen_at
        is_over = last_at is None or now - last_at >= timedelta(seconds=SURE_SECONDS)
        _settle_status(state, problem=problem or ("" if is_over else state.problem))


def _settle_status(state: SystemState, *, problem: str) -> None:
    status = _status(state, problem)
    if (status, problem) == (state.status, state.problem):
        return
    before = state.status
    state.status, state.problem = status, problem
    state.save(update_fields=["status", "problem"])
    if status != before:
        data = {"status": status, "before": before, "problem": problem}
        events.emit([events.NewEvent("scheduler:status", "system", data)])
        transaction.on_commit(events.announce)


def _status(state: SystemState, problem: str) -> SystemStatus:
    if problem:
        return SystemStatus.ERROR
    if not state.scheduler_running:
        return SystemStatus.PAUSED
    has_work = Schedule.objects.filter(enabled=True).exists()
    return SystemStatus.RUNNING if has_work else SystemStatus.IDLE
