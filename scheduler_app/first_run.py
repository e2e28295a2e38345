"""The next run that a schedule gets when it is created, edited or resumed; `fires` moves it on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from scheduler_app import coming_rows, next_run
from scheduler_app.definition import InvalidDefinition, Problem
from scheduler_app.models import Schedule
from scheduler_app.policies import TriggerType
from scheduler_app.rules import parse_interval

INSTANT: Final = timedelta(microseconds=1)


def anchor(schedule: Schedule, now: datetime) -> datetime:
    """Where the grid of an interval begins: now, or so that `start_at` is its first fire."""
    if schedule.schedule_type != "interval" or not schedule.start_at or schedule.start_at <= now:
        return now
    return schedule.start_at - parse_interval(schedule.schedule_config)


def of(schedule: Schedule, now: datetime) -> datetime | None:
    """Its first fire after `now`, its pause and its start; None if time does not start it.

    Raises InvalidDefinition if it would never fire: a rule, an end or a window that leaves
    nothing.
    """
    if not schedule.enabled or schedule.trigger_type != TriggerType.TIME_BASED:
        return None
    after = max(now, schedule.paused_until or now)
    if schedule.start_at is not None:
        after = max(after, schedule.start_at - INSTANT)
    next_at = next_run.calculate_next_run(schedule, after)
    if next_at is None:
        key = "run_at" if schedule.schedule_type == "one_time" else "cron"
        _refuse(("schedule_config", key), f"{_never(after)}; choose a later time")
    elif schedule.end_at is not None and next_at > schedule.end_at:
        _refuse(("end_at",), f"{_never(after)} and before this; choose a later end")
    elif schedule.max_runs is not None and schedule.fired_count >= schedule.max_runs:
        made = f"it has made {schedule.fired_count} runs already"
        _refuse(("max_runs",), f"{made}; choose a higher number to go on")
    else:
        _check_opens(schedule, next_at)
    return next_at


def _check_opens(schedule: Schedule, next_at: datetime) -> None:
    openings = coming_rows.openings(schedule)
    if openings is not None and openings.next_opening(next_at) is None:
        field = "execution_window" if schedule.calendar_id is None else "calendar"
        _refuse((field,), "never opens: nothing would ever run; leave a day and an hour open")


def _never(after: datetime) -> str:
    return f"never comes after {after:%Y-%m-%d %H:%M:%S} UTC"


def _refuse(path: tuple[str, ...], message: str) -> None:
    raise InvalidDefinition([Problem(path, "never", message)])
