"""The fires to come: merged over schedules, within their bounds, page by page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User

from executions_app import clock
from executions_app.audit import Actor
from scheduler_app import coming, next_run, schedules, windows
from scheduler_app.coming import Prospect
from scheduler_app.doors import Doors
from scheduler_app.foresight import upcoming
from scheduler_app.models import Schedule
from scheduler_app.policies import FireReason, OutsideWindow
from tests.factories import ScheduleFactory, UserFactory

MakeSchedule = Callable[..., Schedule]
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
UTC_ZONE = next_run.zone("UTC")


def every(length: timedelta, *, number: int = 1, **changes: Any) -> Prospect:
    rule = next_run.IntervalRule(NOW, length)
    return Prospect(
        UUID(int=number),
        f"job {number}",
        rule,
        UTC_ZONE,
        **{"next_run_at": NOW + length, **changes},
    )


def nominals(prospect: Prospect, *, until: datetime = NOW + HOUR) -> list[datetime]:
    return [one.nominal_at for one in coming.fires(prospect, now=NOW, until=until)]


def test_fires_come_up_to_the_end_and_no_further() -> None:
    ends = every(10 * MINUTE, ends_at=NOW + 30 * MINUTE)

    assert nominals(ends) == [NOW + n * 10 * MINUTE for n in (1, 2, 3)]


def test_fires_come_until_the_last_run_is_made() -> None:
    assert nominals(every(MINUTE, runs_left=2)) == [NOW + MINUTE, NOW + 2 * MINUTE]
    assert nominals(every(MINUTE, runs_left=0)) == []


def test_what_a_window_skips_uses_up_no_run() -> None:
    window = windows.parse_window({"hours": ["12:30-13:00"]}, zone=UTC_ZONE)
    doors = Doors(UUID(int=1), windows.Openings(window))

    fires = list(
        coming.fires(every(20 * MINUTE, runs_left=1, doors=doors), now=NOW, until=NOW + HOUR)
    )

    assert [one.reason for one in fires] == [FireReason.SKIPPED_WINDOW, FireReason.DISPATCHED]


def test_a_fire_that_waits_for_an_opening_is_due_then() -> None:
    window = windows.parse_window({"hours": ["15:00-16:00"]}, zone=UTC_ZONE)
    doors = Doors(UUID(int=1), windows.Openings(window), OutsideWindow.NEXT_OPENING)

    (fire,) = coming.fires(every(HOUR, doors=doors), now=NOW, until=NOW + HOUR)

    assert (fire.nominal_at, fire.due_at) == (NOW + HOUR, NOW + 3 * HOUR)


def test_what_is_long_overdue_counts_once() -> None:
    late = every(MINUTE, next_run_at=NOW - 24 * HOUR)

    assert nominals(late, until=NOW + 2 * MINUTE)[0] == NOW - 24 * HOUR
    assert len(nominals(late, until=NOW + 2 * MINUTE)) == 3


def test_the_fires_of_many_are_merged_and_the_crowded_minutes_counted() -> None:
    prospects = [every(10 * MINUTE, number=1), every(15 * MINUTE, number=2)]

    merged = list(coming.merged(prospects, now=NOW, until=NOW + HOUR))

    assert all(before <= after for before, after in pairwise(merged))
    assert len(merged) == 10
    busiest = coming.busiest(merged)
    assert [(one.at, one.count) for one in busiest] == [
        (NOW + 30 * MINUTE, 2), (NOW + HOUR, 2),
    ]  # fmt: skip


def test_stored_schedules_are_listed_page_by_page(make_schedule: MakeSchedule, owner: User) -> None:
    for number in range(3):
        make_schedule(f"job {number}", schedule_config={"interval_ms": 600_000 + number * 60_000})
    now = clock.now()

    whole = upcoming.read(owner, now=now, until=now + HOUR, limit=100)
    pages, after = [], None
    while True:
        page = upcoming.read(owner, now=now, until=now + HOUR, limit=4, after=after)
        pages.append(page.fires)
        after = page.next
        if after is None:
            break

    assert [one for page in pages for one in page] == whole.fires
    assert [len(page) for page in pages[:-1]] == [4] * (len(pages) - 1)
    assert whole.is_complete
    assert len(whole.fires) == 6 + 5 + 5


def test_what_is_disabled_paused_or_not_mine_is_not_listed(
    make_schedule: MakeSchedule, owner: User
) -> None:
    make_schedule("mine")
    schedules.disable(make_schedule("off").id, actor=Actor.of(owner))
    schedules.pause(
        make_schedule("resting").id,
        reason="",
        until=clock.now() + 2 * HOUR,
        actor=Actor.of(owner),
    )
    ScheduleFactory.create(name="of somebody else")
    make_schedule("by hand", trigger_type="manual", schedule_type="", schedule_config={})
    now = clock.now()

    mine = upcoming.read(owner, now=now, until=now + HOUR)
    admins = upcoming.read(
        UserFactory.create(is_superuser=True), now=now, until=now + HOUR, limit=1000
    )

    assert {one.name for one in mine.fires} == {"mine"}
    assert {one.name for one in admins.fires} == {"mine", "of somebody else"}


def test_where_there_is_more_than_can_be_looked_at_the_answer_says_how_far_it_goes(
    make_schedule: MakeSchedule, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        make_schedule(f"job {number}", schedule_config={"interval_ms": (number + 1) * 600_000})
    now = clock.now()
    monkeypatch.setattr(upcoming, "MOST_SCHEDULES", 2)

    look = upcoming.read(owner, now=now, until=now + 24 * HOUR)

    third = Schedule.objects.get(name="job 2").next_run_at
    assert not look.is_complete
    assert look.until == third
    assert {one.name for one in look.fires} >= {"job 0", "job 1"}

    monkeypatch.setattr(upcoming, "MOST_SCHEDULES", 100)
    monkeypatch.setattr(upcoming, "MOST_FIRES", 5)
    few = upcoming.read(owner, now=now, until=now + 24 * HOUR)
    assert (len(few.fires), few.is_complete) == (5, False)
    assert few.until > few.fires[-1].nominal_at or few.until == few.fires[-1].nominal_at
