"""The fires to come of all schedules of somebody, merged by time, with the minutes they crowd.

Bounded by itself: MOST_SCHEDULES rows and MOST_FIRES fires are looked at, and where there is more
the answer says up to which instant it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile, islice
from typing import Final
from uuid import UUID

from django.contrib.auth.models import AbstractUser
from django.db.models import QuerySet

from executions_app import ownership
from executions_app.states import Priority
from scheduler_app import coming, coming_rows
from scheduler_app.coming import BusyMinute, Coming, Prospect
from scheduler_app.models import Schedule
from scheduler_app.next_run import InvalidTriggerConfigError

MOST_SCHEDULES: Final = 2_000
MOST_FIRES: Final = 20_000
MOST_HOURS: Final = 31 * 24
USUAL_LIMIT: Final = 100
Place = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class Upcoming:
    """Some fires, those after `next` left out; the crowded minutes of all up to `until`."""

    begin: datetime
    until: datetime
    is_complete: bool
    fires: list[Coming]
    busiest: list[BusyMinute]
    next: Place | None


def read(
    user: AbstractUser | None,
    *,
    now: datetime,
    until: datetime,
    limit: int = USUAL_LIMIT,
    after: Place | None = None,
) -> Upcoming:
    """The fires up to `until` of what `user` may see (None: of everybody), `limit` at once.

    `after` is the `next` of the answer before. What is overdue is listed first.
    """
    prospects, complete_until = _prospects(user, until)
    merged = list(islice(coming.merged(prospects, now=now, until=complete_until), MOST_FIRES + 1))
    if len(merged) > MOST_FIRES:
        complete_until = merged.pop().nominal_at
    left = dropwhile(lambda one: after is not None and _place(one) <= after, merged)
    shown = list(islice(left, limit + 1))
    has_more = len(shown) > limit
    return Upcoming(
        begin=now,
        until=complete_until,
        is_complete=complete_until == until,
        fires=shown[:limit],
        busiest=coming.busiest(merged),
        next=_place(shown[limit - 1]) if has_more else None,
    )


def crowded(*, now: datetime, until: datetime) -> list[BusyMinute]:
    """The minutes up to `until` in which several schedules become due, and how many of them."""
    prospects, complete_until = _prospects(None, until)
    merged = islice(coming.merged(prospects, now=now, until=complete_until), MOST_FIRES)
    of_each = {(coming.minute_of(one.due_at), one.schedule_id): one for one in merged if one.due_at}
    return coming.busiest(of_each.values(), shown=MOST_FIRES)


def schedules_by_next_run(
    user: AbstractUser | None, *, until: datetime, most: int
) -> list[Schedule]:
    """The enabled schedules that fire next, up to `until`, the soonest first."""
    due = Schedule.objects.filter(enabled=True, next_run_at__isnull=False, next_run_at__lte=until)
    if user is not None and not user.is_superuser:
        return list(_soonest(ownership.visible_to(user, due), most))
    # Of everybody's there is an index per priority.
    found = [one for word in Priority for one in _soonest(due.filter(priority=word), most)]
    return sorted(found, key=_soon)[:most]


def _prospects(user: AbstractUser | None, until: datetime) -> tuple[list[Prospect], datetime]:
    rows = schedules_by_next_run(user, until=until, most=MOST_SCHEDULES + 1)
    if len(rows) > MOST_SCHEDULES:
        until = _soon(rows.pop())[0]
    return list(readable(rows)), until


def readable(rows: list[Schedule]) -> Iterator[Prospect]:
    """What is to come of those whose settings can be used; the dispatcher disables the others."""
    for row in rows:
        try:
            prospect = coming_rows.prospect(row)
        except InvalidTriggerConfigError:
            continue
        if prospect is not None:
            yield prospect


def _soonest(rows: QuerySet[Schedule], most: int) -> QuerySet[Schedule]:
    return rows.select_related("calendar").order_by("next_run_at")[:most]


def _soon(row: Schedule) -> Place:
    assert row.next_run_at is not None
    return row.next_run_at, row.id


def instant(text: str) -> datetime:
    """The instant of a place that was put into text; raises ValueError."""
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return read


def _place(one: Coming) -> Place:
    return one.nominal_at, one.schedule_id
