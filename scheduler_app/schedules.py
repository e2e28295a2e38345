"""Create, edit, pause, resume, delete and trigger schedules: what people do, in one place.

REST, admin, commands and the demo call these; each writes the schedule, its audit entry and its
event in one transaction. `definition` has checked the words, this module decides about time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction

from errors_app.backoff import RetryPolicy
from executions_app import audit, clock, events, ids, lifecycle
from executions_app.audit import Actor
from executions_app.states import ExecutionStatus, SchedulerException, Trigger
from scheduler_app import dispatcher, fires, next_run
from scheduler_app.definition import Definition, InvalidDefinition, Problem
from scheduler_app.models import Schedule
from scheduler_app.policies import TriggerType

MOVES_NEXT_RUN: Final = (
    "trigger_type",
    "schedule_type",
    "schedule_config",
    "timezone",
    "enabled",
    "paused_until",
)
ONE_NAME: Final = "schedule_name_of_owner"
MOVES_ANCHOR: Final = ("schedule_type", "schedule_config", "enabled")


class NameTaken(SchedulerException):
    """Another schedule of the same owner has this name."""


class VersionChanged(SchedulerException):
    """The schedule was edited since the caller read it."""


def create(definition: Definition, *, owner_id: int, actor: Actor) -> Schedule:
    """Store a new schedule with its first run; raises NameTaken."""
    with transaction.atomic():
        now = clock.now()
        schedule = Schedule(
            id=ids.new(now), owner_id=owner_id, anchor_at=now, created_at=now, updated_at=now
        )
        _fill(schedule, definition)
        schedule.next_run_at = _next_run(schedule, now)
        _save(schedule)
        _tell("created", schedule, actor, now=now, after=definition.columns())
    events.announce()
    return schedule


def update(
    schedule_id: UUID, definition: Definition, *, actor: Actor, version: int | None = None
) -> Schedule:
    """Replace the definition; the next run moves only when what determines it changed.

    Raises VersionChanged when `version` is given and not the current one, NameTaken.
    """
    dispatcher.fire_if_running(schedule_id)
    with transaction.atomic():
        schedule = Schedule.objects.select_for_update().get(id=schedule_id)
        if version is not None and schedule.version != version:
            raise VersionChanged(
                f"Schedule {schedule.name!r} is at version {schedule.version}, not {version}; "
                "read it again and repeat the change"
            )
        _replace(schedule, definition, actor)
    events.announce()
    return schedule


def _replace(schedule: Schedule, definition: Definition, actor: Actor) -> None:
    """In the transaction that has locked the row."""
    now = clock.now()
    before, after = _stored(schedule), definition.columns()
    changed = {name for name, value in after.items() if before.get(name) != value}
    if not changed:
        return
    _fill(schedule, definition)
    if changed.intersection(MOVES_ANCHOR):
        schedule.anchor_at = now
    if changed.intersection(MOVES_NEXT_RUN):
        schedule.next_run_at = _next_run(schedule, now)
    schedule.version += 1
    _save(schedule)
    _tell(
        "updated",
        schedule,
        actor,
        now=now,
        before={name: before.get(name) for name in changed},
        after={name: after[name] for name in changed},
    )


def current(schedule: Schedule) -> Definition:
    """The definition that a stored schedule has now (it was valid when it was stored)."""
    values = {name: getattr(schedule, name) for name in Definition.model_fields}
    values["retry_policy"] = RetryPolicy.model_validate(schedule.retry_policy)
    return Definition.model_construct(**values)


def _change(schedule_id: UUID, changes: Mapping[str, Any], actor: Actor) -> Schedule:
    dispatcher.fire_if_running(schedule_id)
    with transaction.atomic():
        schedule = Schedule.objects.select_for_update().get(id=schedule_id)
        _replace(schedule, current(schedule).model_copy(update=dict(changes)), actor)
    events.announce()
    return schedule


def enable(schedule_id: UUID, *, actor: Actor) -> Schedule:
    """Fire again from now on; an interval starts a new grid at this instant."""
    changes = {"enabled": True, "pause_reason": "", "paused_until": None}
    return _change(schedule_id, changes, actor)


def disable(schedule_id: UUID, *, actor: Actor) -> Schedule:
    """No fires until somebody enables it."""
    return _change(schedule_id, {"enabled": False}, actor)


def pause(schedule_id: UUID, *, reason: str, until: datetime | None, actor: Actor) -> Schedule:
    """No fires until `until`, or without one until somebody resumes it.

    Raises InvalidDefinition when `until` has passed.
    """
    if until is not None and until <= clock.now():
        message = f"{until:%Y-%m-%d %H:%M:%S %Z} has passed; choose a later instant"
        raise InvalidDefinition([Problem(("paused_until",), "past", message)])
    changes: dict[str, Any] = {"pause_reason": reason, "paused_until": until}
    if until is None:
        changes["enabled"] = False
    return _change(schedule_id, changes, actor)


def resume(schedule_id: UUID, *, actor: Actor) -> Schedule:
    """End a pause of either kind."""
    return enable(schedule_id, actor=actor)


def delete(schedule_id: UUID, *, actor: Actor) -> None:
    """Remove the schedule; its executions, fires and audit stay readable."""
    with transaction.atomic():
        schedule = Schedule.objects.select_for_update().get(id=schedule_id)
        _tell("deleted", schedule, actor, now=clock.now(), before=_stored(schedule))
        schedule.delete()
    events.announce()


def trigger(
    schedule: Schedule,
    *,
    actor: Actor,
    source: Trigger = Trigger.MANUAL,
    parameters: Mapping[str, Any] | None = None,
    correlation_id: str = "",
) -> UUID:
    """Run a schedule now, whatever its cadence; works on a disabled one. Answers the execution.

    While the system is stopped the execution waits, pending, until it is started again.
    """
    with transaction.atomic():
        now = clock.now()
        execution_id = ids.new(now)
        execution = fires.new_execution(
            schedule,
            execution_id,
            trigger=source,
            due_at=now,
            status=ExecutionStatus.PENDING,
            parameters=dict(parameters or {}),
            correlation_id=correlation_id,
        )
        lifecycle.create([execution])
        audit.record(
            actor,
            "schedule.triggered",
            object_type="schedule",
            object_id=schedule.id,
            now=now,
            after={"execution_id": str(execution_id)},
        )
    dispatcher.release_due_if_running([execution_id])
    return execution_id


def plan_unplanned() -> int:
    """Give enabled time-based schedules without a next run one; answers how many got it.

    One that never fires again is disabled. Called when a beat starts.
    """
    unplanned = Schedule.objects.filter(
        enabled=True, next_run_at__isnull=True, trigger_type=TriggerType.TIME_BASED
    )
    planned = 0
    for schedule_id in list(unplanned.values_list("id", flat=True)):
        with transaction.atomic():
            schedule = unplanned.select_for_update().filter(id=schedule_id).first()
            if schedule is None:
                continue
            try:
                schedule.next_run_at = _next_run(schedule, clock.now())
            except SchedulerException as error:
                schedule.enabled, schedule.pause_reason = False, str(error)
            schedule.save(update_fields=["next_run_at", "enabled", "pause_reason"])
            planned += schedule.enabled
    return planned


def _stored(schedule: Schedule) -> dict[str, Any]:
    """What the columns hold, valid or not: a corrupt row can be corrected and deleted."""
    return {name: getattr(schedule, name) for name in Definition.model_fields}


def _fill(schedule: Schedule, definition: Definition) -> None:
    for name, value in definition.columns().items():
        setattr(schedule, name, value)


def _next_run(schedule: Schedule, now: datetime) -> datetime | None:
    if not schedule.enabled:
        return None
    after = max(now, schedule.paused_until) if schedule.paused_until else now
    next_at = next_run.calculate_next_run(schedule, after)
    if next_at is None and schedule.trigger_type == TriggerType.TIME_BASED:
        key = "run_at" if schedule.schedule_type == "one_time" else "cron"
        message = f"never comes after {after:%Y-%m-%d %H:%M:%S} UTC; choose a later time"
        raise InvalidDefinition([Problem(("schedule_config", key), "never", message)])
    return next_at


def _save(schedule: Schedule) -> None:
    try:
        with transaction.atomic():
            schedule.save()
    except IntegrityError as error:
        if ONE_NAME not in str(error):
            raise
        raise NameTaken(
            f"A schedule named {schedule.name!r} exists already; choose another name"
        ) from None


def _tell(
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
    events.emit(
        [
            events.NewEvent(
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
        ]
    )
