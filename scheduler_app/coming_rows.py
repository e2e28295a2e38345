"""Reads from the rows of schedules what decides about their fires to come, for `coming`."""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from typing import Any

from scheduler_app import next_run, windows
from scheduler_app.coming import Prospect
from scheduler_app.doors import Doors
from scheduler_app.models import BusinessCalendar, Schedule
from scheduler_app.policies import OutsideWindow, TriggerType
from scheduler_app.windows import Calendar, Openings


def prospect(schedule: Schedule) -> Prospect | None:
    """The fires to come of a schedule; None if time never starts it.

    Raises InvalidTriggerConfigError if its settings cannot be used. The calendar is read with it:
    `select_related("calendar")` where there are many.
    """
    if schedule.trigger_type != TriggerType.TIME_BASED:
        return None
    left = None
    if schedule.max_runs is not None:
        left = max(0, schedule.max_runs - schedule.fired_count)
    return Prospect(
        schedule_id=schedule.id,
        name=schedule.name,
        rule=next_run.parse_rule(
            schedule.schedule_type, schedule.schedule_config, anchor_at=schedule.anchor_at
        ),
        zone=next_run.zone(schedule.timezone),
        next_run_at=schedule.next_run_at if schedule.enabled else None,
        ends_at=schedule.end_at,
        runs_left=left,
        doors=doors(schedule),
    )


def doors(schedule: Schedule) -> Doors | None:
    """What moves its starts; None if every fire starts when it is due."""
    its_openings = openings(schedule)
    if its_openings is None and not schedule.jitter_ms and not schedule.spread_ms:
        return None
    return Doors(
        schedule_id=schedule.id,
        openings=its_openings,
        outside=OutsideWindow(schedule.outside_window),
        jitter_ms=schedule.jitter_ms,
        spread_ms=schedule.spread_ms,
    )


def openings(schedule: Schedule) -> Openings | None:
    """When a schedule may run; None if always."""
    zone = next_run.zone(schedule.timezone)
    window = windows.parse_window(schedule.execution_window, zone=zone)
    its_calendar = None if schedule.calendar is None else calendar(schedule.calendar)
    if window is None and its_calendar is None:
        return None
    return Openings(window, its_calendar)


def calendar(row: BusinessCalendar) -> Calendar:
    """The closed days of a stored calendar; computed once per version of it."""
    return _calendar(_Versioned(row))


class _Versioned:
    """A row that equals itself as long as nobody edits it."""

    def __init__(self, row: BusinessCalendar) -> None:
        self.row = row
        self._key = (row.id, row.version, row.updated_at)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Versioned) and self._key == other._key


@lru_cache(256)
def _calendar(versioned: _Versioned) -> Calendar:
    row = versioned.row
    return Calendar(
        zone=next_run.zone(row.timezone),
        weekend=frozenset(windows.weekday(one) for one in row.weekend),
        holidays=frozenset(date.fromisoformat(one["date"]) for one in row.holidays),
        blackouts=windows.merged(_stretch(one) for one in row.blackouts),
    )


def _stretch(blackout: dict[str, Any]) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(blackout["from"]), datetime.fromisoformat(blackout["to"])
