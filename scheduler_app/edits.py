"""One edit of a schedule: under its lock, with what is due fired, its history kept and told.

`schedules` has the verbs of people; they all come through here, so that an edit never loses a
fire: what is due runs first, what nobody looked at is recorded, and only then the next run moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from pydantic import ValidationError

from errors_app.backoff import RetryPolicy
from executions_app import audit, clock, events
from executions_app.audit import Actor
from executions_app.states import SchedulerException
from scheduler_app import dispatcher, due, first_run, pauses
from scheduler_app.definition import Definition, InvalidDefinition, problems_of, stored
from scheduler_app.models import Schedule
from scheduler_app.sources import listeners

MOVES_NEXT_RUN: Final = (
    "trigger_type",
    "schedule_type",
    "schedule_config",
    "timezone",
    "enabled",
    "paused_until",
    "start_at",
    "end_at",
)
BOUNDS_FIRES: Final = ("max_runs", "execution_window", "calendar")
"""What leaves the next run where it is, but must leave one."""
ONE_NAME: Final = "schedule_name_of_owner"
MOVES_ANCHOR: Final = ("schedule_type", "schedule_config", "enabled", "start_at")
MOST_TRIES: Final = 3  # a schedule may come due between its fire and its lock


class NameTaken(SchedulerException):
    """Another schedule of the same owner has this name."""


class VersionChanged(SchedulerException):
    """The schedule was edited since the caller read it."""


def nothing() -> None:
    """What a schedule needs that depends on no other."""


def locked(
    schedule_id: UUID,
    change: Callable[[Schedule], None],
    *,
    before: Callable[[], None] = nothing,
) -> Schedule:
    """Change a schedule that is locked and has fired what was due, if the system dispatches."""
    for attempt in range(1, MOST_TRIES + 1):
        dispatcher.fire_if_running(schedule_id)
        with transaction.atomic():
            before()
            schedule = Schedule.objects.select_for_update().get(id=schedule_id)
            if attempt < MOST_TRIES and due.is_due_and_running(schedule_id):
                continue
            change(schedule)
        break
    events.announce()
    return schedule


def replace(schedule: Schedule, definition: Definition, actor: Actor) -> None:
    """Store what changed, in the transaction that has locked the row; the rest stays."""
    now = clock.now()
    before, after = stored(schedule), definition.columns()
    changed = {name for name, value in after.items() if before.get(name) != value}
    if not changed:
        return
    is_moved = not changed.isdisjoint(MOVES_NEXT_RUN)
    if is_moved:
        pauses.settle(schedule, now=now)
    fill(schedule, definition)
    if moves_anchor({name: before.get(name) for name in changed}):
        schedule.anchor_at = first_run.anchor(schedule, now)
    if is_moved:
        schedule.next_run_at = first_run.of(schedule, now)
        schedule.paused_at = now if pauses.is_off(schedule, now) else None
    elif changed.intersection(BOUNDS_FIRES):
        first_run.of(schedule, now)
    schedule.version += 1
    save(schedule)
    tell(
        "updated",
        schedule,
        actor,
        now=now,
        before={name: before.get(name) for name in changed},
        after={name: after[name] for name in changed},
    )


def moves_anchor(before: Mapping[str, Any]) -> bool:
    """True if a change from these words begins a new grid: to be switched off keeps the old one.

    The fires of the time that it is off are those of the grid that it had.
    """
    return any(name in before and before[name] is not True for name in MOVES_ANCHOR)


def current(schedule: Schedule) -> Definition:
    """The definition that a stored schedule has now (it was valid when it was stored).

    Raises InvalidDefinition if its retry policy is none any more.
    """
    try:
        retry_policy = RetryPolicy.model_validate(schedule.retry_policy)
    except ValidationError as error:
        raise InvalidDefinition(problems_of(error, "retry_policy")) from None
    return Definition.model_construct(**{**stored(schedule), "retry_policy": retry_policy})


def fill(schedule: Schedule, definition: Definition) -> None:
    for name, value in definition.columns().items():
        if name == "calendar":
            schedule.calendar_id = UUID(value) if value else None
        else:
            setattr(schedule, name, value)


def save(schedule: Schedule) -> None:
    try:
        with transaction.atomic():
            schedule.save()
            listeners.follow(schedule)
    except IntegrityError as error:
        if ONE_NAME not in str(error):
            raise
        raise NameTaken(
            f"A schedule named {schedule.name!r} exists already; choose another name"
        ) from None


def tell(
    what: str,
    schedule: Schedule,
    actor: Actor,
    *,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    audit.record(
        actor,
        f"schedule.{what}",
        object_type="schedule",
        object_id=schedule.id,
        now=now,
        before=before,
        after=after,
    )
    events.emit([told(what, schedule)])


def told(what: str, schedule: Schedule) -> events.NewEvent:
    """The event that something was done to a schedule, which is now as it is."""
    return events.NewEvent(
        f"schedule:{what}",
        f"schedule:{schedule.id}",
        {
            "name": schedule.name,
            "enabled": schedule.enabled,
            "next_run_at": schedule.next_run_at and schedule.next_run_at.isoformat(),
        },
        owner_id=schedule.owner_id,
        schedule_id=schedule.id,
    )
