"""Pause and resume many schedules while somebody waits: one after the other, so many at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.contrib.auth.models import AbstractUser
from django.db.models import QuerySet

from executions_app.states import SchedulerException
from scheduler_app import schedules
from scheduler_app.bulk import choosing, switching
from scheduler_app.models import Schedule

MOST_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Refused:
    """A schedule that stayed as it was, and why."""

    schedule: Schedule
    detail: str


@dataclass(slots=True)
class Done:
    """What became of the chosen; `remaining` are left for the next call."""

    changed: int = 0
    refused: list[Refused] = field(default_factory=list)
    remaining: int = 0


def pause(
    rows: QuerySet[Schedule], *, reason: str, until: datetime | None, user: AbstractUser
) -> Done:
    """Pause those that still fire; raises InvalidDefinition when `until` has passed."""
    schedules.check_until(until)
    act = switching.pausing(reason=reason, until=until, user=user)
    return _each(rows.filter(choosing.firing()), act)


def resume(rows: QuerySet[Schedule], *, user: AbstractUser) -> Done:
    """Resume those that are paused or disabled, and that `user` may have executed."""
    return _each(rows.filter(choosing.off()), switching.resuming(user=user))


def _each(rows: QuerySet[Schedule], act: switching.Act) -> Done:
    """In the order of their ids; one that cannot be changed stops none of the others."""
    done = Done()
    chosen = list(rows.order_by("id").only("id", "name", "task_type")[:MOST_AT_ONCE])
    for one in chosen:
        try:
            switching.switch(one.id, act, chosen=rows)
        except Schedule.DoesNotExist:
            continue
        except SchedulerException as error:
            done.refused.append(Refused(one, str(error)))
        else:
            done.changed += 1
    if len(chosen) == MOST_AT_ONCE:
        done.remaining = rows.filter(id__gt=chosen[-1].id).count()
    return done
