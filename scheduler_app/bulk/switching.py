"""Pause or resume one of many schedules: refused if it has changed since it was chosen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import AbstractUser
from django.db.models import QuerySet

from executions_app.audit import Actor
from executions_app.states import LostRace
from scheduler_app import edits, permissions, schedules
from scheduler_app.models import Schedule

Act = Callable[[Schedule], None]
"""What is done to a schedule, in the transaction that has locked it."""


def pausing(*, reason: str, until: datetime | None, user: AbstractUser) -> Act:
    def act(schedule: Schedule) -> None:
        schedules.put_off(schedule, reason=reason, until=until, actor=Actor.of(user))

    return act


def resuming(*, user: AbstractUser) -> Act:
    """Only what `user` may have executed."""

    def act(schedule: Schedule) -> None:
        permissions.check_task_type(user, schedule.task_type)
        schedules.put_on(schedule, actor=Actor.of(user))

    return act


def switch(
    schedule_id: UUID,
    act: Act,
    *,
    chosen: QuerySet[Schedule],
    also: Callable[[], None] = edits.nothing,
) -> None:
    """Carry it out, and `also` in the same transaction.

    Raises LostRace if the schedule is none of the `chosen` any more, what `act` and `also` raise,
    and Schedule.DoesNotExist; then nothing has happened.
    """

    def change(locked: Schedule) -> None:
        if not chosen.filter(id=locked.id).exists():
            raise LostRace("it has changed meanwhile and is not chosen any more")
        act(locked)
        also()

    edits.locked(schedule_id, change)
