"""An owner, and schedules of theirs that are due when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now

from executions_app import clock
from executions_app.audit import Actor
from executions_app.models import SystemState
from scheduler_app import definition, queues, schedules
from scheduler_app.models import Schedule
from tests.patience import forgive_redis

MakeSchedule = Callable[..., Schedule]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@pytest.fixture
def owner(db: None) -> User:
    SystemState.objects.get_or_create(id=1)
    queues.broker.cache_clear()
    forgive_redis()
    queues.broker().flushdb()
    return User.objects.create_user("owner")


@pytest.fixture
def make_schedule(owner: User) -> MakeSchedule:
    """Create a schedule; `late_by` moves its next run (and its grid) into the past."""

    def make(name: str = "a job", *, late_by: timedelta | None = None, **changes: Any) -> Schedule:
        words = {
            "name": name,
            "schedule_type": "interval",
            "schedule_config": {"interval_ms": 60_000},
            "task_type": "shell_command",
            "task_config": {"command": ["true"]},
        }
        words.update(changes)
        schedule = schedules.create(
            definition.parse(words), owner_id=owner.id, actor=Actor.of(owner)
        )
        if late_by is not None:
            move_into_the_past(schedule, late_by)
        return schedule

    return make


def move_into_the_past(schedule: Schedule, late_by: timedelta) -> None:
    """As if it had been created earlier, so that its next run was due `late_by` ago."""
    assert schedule.next_run_at is not None
    interval = schedule.next_run_at - schedule.anchor_at
    Schedule.objects.filter(id=schedule.id).update(
        anchor_at=Now() - late_by - interval, next_run_at=Now() - late_by
    )
    schedule.refresh_from_db()


def in_days(days: int) -> dict[str, Any]:
    """A window that is open on one day of the week: that of so many days from now, in UTC."""
    return {"weekdays": [DAYS[(clock.now() + timedelta(days=days)).weekday()]]}


def in_two_days() -> dict[str, Any]:
    """A window that is closed now and opens with the day after tomorrow, in UTC."""
    return in_days(2)


def midnight_in(days: int) -> datetime:
    """The first instant of that day, in UTC."""
    later = clock.now() + timedelta(days=days)
    return later.replace(hour=0, minute=0, second=0, microsecond=0)
