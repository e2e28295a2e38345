"""Which hours, day or blackout kept a fire from running, in words."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from executions_app.wording import iso
from scheduler_app import coming_rows, next_run
from scheduler_app.models import BusinessCalendar, Schedule
from scheduler_app.next_run import InvalidTriggerConfigError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def closed_words(schedule: Schedule, at: datetime) -> str:
    """What of the window and the calendar that the schedule has now forbids a start at `at`.

    Empty if nothing does: then they were others at the time.
    """
    try:
        openings = coming_rows.openings(schedule)
    except InvalidTriggerConfigError:
        return ""
    closed = None if openings is None else openings.closed_by(at)
    if closed == "window":
        return _window(schedule, at)
    if closed == "calendar" and schedule.calendar is not None:
        return _calendar(schedule.calendar, at)
    return ""


def _window(schedule: Schedule, at: datetime) -> str:
    words = schedule.execution_window
    hours = ", ".join(words.get("hours") or ["the whole day"])
    days = ", ".join(words.get("weekdays") or ["every day"])
    shown = at.astimezone(next_run.zone(schedule.timezone))
    return f"open {hours} on {days} in {schedule.timezone}, where it is {shown:%A %H:%M}"


def _calendar(calendar: BusinessCalendar, at: datetime) -> str:
    for blackout in calendar.blackouts:
        begins, ends = (datetime.fromisoformat(blackout[key]) for key in ("from", "to"))
        if begins <= at < ends:
            reason = blackout.get("reason") or "no reason given"
            return f"{calendar.name}: blackout from {iso(begins)} to {iso(ends)}, {reason}"
    shown = at.astimezone(next_run.zone(calendar.timezone))
    for holiday in calendar.holidays:
        if holiday["date"] == shown.date().isoformat():
            return f"{calendar.name}: {holiday.get('name') or 'holiday'} on {holiday['date']}"
    if DAYS[shown.weekday()] in calendar.weekend:
        return f"{calendar.name}: {shown:%A} is a weekend day"
    return ""
