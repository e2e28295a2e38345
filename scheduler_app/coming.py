"""Which fires are still to come: a schedule's rule and bounds -> instants and what waits for them.

What `upcoming`, `lint` and `simulate` tell of the future stands on this. Pure: no Django, no clock,
nothing of other schedules; whether a run is still active when its successor fires, nobody can know
from here.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from scheduler_app import next_run
from scheduler_app.doors import Doors
from scheduler_app.next_run import Rule
from scheduler_app.policies import FireReason

BUSY_MINUTES_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Prospect:
    """What of one schedule decides about its fires to come; None bounds nothing."""

    schedule_id: UUID
    name: str
    rule: Rule
    zone: ZoneInfo
    next_run_at: datetime | None
    ends_at: datetime | None = None
    runs_left: int | None = None
    doors: Doors | None = None


@dataclass(frozen=True, slots=True, order=True)
class Coming:
    """One fire to come; `due_at` is when its execution may start, None if it gets none."""

    nominal_at: datetime
    schedule_id: UUID
    name: str
    reason: FireReason
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class BusyMinute:
    """How many executions become due in the minute that begins at `at`."""

    at: datetime
    count: int


def nominals(prospect: Prospect, *, now: datetime, until: datetime) -> Iterator[datetime]:
    """The nominal fires to come up to `until`, ascending; what is overdue by `now` counts once."""
    nominal = prospect.next_run_at
    last = until if prospect.ends_at is None else min(until, prospect.ends_at)
    while nominal is not None and nominal <= last:
        yield nominal
        nominal = next_run.next_run(prospect.rule, prospect.zone, max(nominal, now))


def fires(prospect: Prospect, *, now: datetime, until: datetime) -> Iterator[Coming]:
    """The fires of one schedule up to `until`, ascending, until it has made all its runs."""
    left = prospect.runs_left
    for nominal in nominals(prospect, now=now, until=until):
        if left == 0:
            return
        reason, due_at = passed(prospect, nominal)
        if left is not None and reason is FireReason.DISPATCHED:
            left -= 1
        yield Coming(nominal, prospect.schedule_id, prospect.name, reason, due_at)


def passed(prospect: Prospect, nominal_at: datetime) -> tuple[FireReason, datetime | None]:
    """What window, calendar, jitter and spread make of one fire."""
    if prospect.doors is None:
        return FireReason.DISPATCHED, nominal_at
    return prospect.doors.passes(nominal_at)


def merged(prospects: Iterable[Prospect], *, now: datetime, until: datetime) -> Iterator[Coming]:
    """The fires of all of them in the order of time."""
    return heapq.merge(*(fires(one, now=now, until=until) for one in prospects))


def busiest(
    coming: Iterable[Coming], *, shown: int = BUSY_MINUTES_SHOWN, least: int = 2
) -> list[BusyMinute]:
    """The minutes in which most executions become due, at least `least` of them."""
    minutes = Counter(
        minute_of(one.due_at) for one in coming if one.due_at is not None
    ).most_common()
    crowded = [BusyMinute(minute, count) for minute, count in minutes if count >= least]
    return sorted(crowded, key=lambda one: (-one.count, one.at))[:shown]


def minute_of(instant: datetime) -> datetime:
    """The first instant of its minute."""
    return instant.replace(second=0, microsecond=0)
