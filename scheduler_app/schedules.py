"""Create, edit, pause, resume, delete and trigger schedules: what people do, in one place.

REST, admin, commands and the demo call these; each writes the schedule, its audit entry and its
event in one transaction. `definition` has checked the words, this module decides about time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from errors_app.incidents import deciding, telling
from executions_app import audit, clock, events, ids
from executions_app.audit import Actor
from executions_app.states import SchedulerException, Trigger
from scheduler_app import by_hand, edits, first_run, pauses, references
from scheduler_app.by_hand import Wanted
from scheduler_app.definition import Definition, InvalidDefinition, Problem, stored
from scheduler_app.edits import NameTaken as NameTaken
from scheduler_app.edits import VersionChanged as VersionChanged
from scheduler_app.edits import current as current
from scheduler_app.models import Schedule
from scheduler_app.policies import TriggerType
from scheduler_app.references import Needed as Needed

logger = logging.getLogger(__name__)


def _resolved(definition: Definition, *, owner_id: int, schedule_id: UUID) -> Definition:
    if definition.trigger_type is TriggerType.DEPENDENT:
        references.hold()
    return references.resolved(definition, owner_id=owner_id, schedule_id=schedule_id)


def create(definition: Definition, *, owner_id: int, actor: Actor) -> Schedule:
    """Store a new schedule with its first run; raises NameTaken."""
    with transaction.atomic():
        now = clock.now()
        schedule_id = ids.new(now)
        definition = _resolved(definition, owner_id=owner_id, schedule_id=schedule_id)
        schedule = Schedule(id=schedule_id, owner_id=owner_id, created_at=now, updated_at=now)
        edits.fill(schedule, definition)
        schedule.anchor_at = first_run.anchor(schedule, now)
        schedule.next_run_at = first_run.of(schedule, now)
        schedule.paused_at = now if pauses.is_off(schedule, now) else None
        edits.save(schedule)
        edits.tell("created", schedule, actor, now=now, after=definition.columns())
    events.announce()
    return schedule


def update(
    schedule_id: UUID, definition: Definition, *, actor: Actor, version: int | None = None
) -> Schedule:
    """Replace the definition; the next run moves only when what determines it changed.

    Raises VersionChanged when `version` is given and not the current one, NameTaken.
    """

    def replace(schedule: Schedule) -> None:
        if version is not None and schedule.version != version:
            raise VersionChanged(
                f"Schedule {schedule.name!r} is at version {schedule.version}, not {version}; "
                "read it again and repeat the change"
            )
        owner_id = schedule.owner_id
        resolved = references.resolved(definition, owner_id=owner_id, schedule_id=schedule.id)
        edits.replace(schedule, resolved, actor)

    is_dependent = definition.trigger_type is TriggerType.DEPENDENT
    hold = references.hold if is_dependent else edits.nothing
    return edits.locked(schedule_id, replace, before=hold)


def enable(schedule_id: UUID, *, actor: Actor) -> Schedule:
    """Fire again from now on; an interval starts a new grid at this instant.

    One that had paused itself may fail as often again before it does so the next time.
    """
    return edits.locked(schedule_id, partial(put_on, actor=actor))


def put_on(schedule: Schedule, *, actor: Actor) -> None:
    """As `enable`, in the transaction that has locked the schedule."""
    if is_failing(schedule):
        schedule.consecutive_failures = 0
    changes = {"enabled": True, "pause_reason": "", "paused_until": None}
    edits.replace(schedule, current(schedule).model_copy(update=changes), actor)


def disable(schedule_id: UUID, *, actor: Actor) -> Schedule:
    """No fires until somebody enables it."""

    def change(schedule: Schedule) -> None:
        edits.replace(schedule, current(schedule).model_copy(update={"enabled": False}), actor)

    return edits.locked(schedule_id, change)


def pause(schedule_id: UUID, *, reason: str, until: datetime | None, actor: Actor) -> Schedule:
    """No fires until `until`, or without one until somebody resumes it.

    Raises InvalidDefinition when `until` has passed.
    """
    check_until(until)  # before what is due is fired
    return edits.locked(schedule_id, partial(put_off, reason=reason, until=until, actor=actor))


def put_off(schedule: Schedule, *, reason: str, until: datetime | None, actor: Actor) -> None:
    """As `pause`, in the transaction that has locked the schedule."""
    check_until(until)
    changes: dict[str, Any] = {"pause_reason": reason, "paused_until": until}
    if until is None:
        changes["enabled"] = False
    edits.replace(schedule, current(schedule).model_copy(update=changes), actor)


def check_until(until: datetime | None) -> None:
    """Raise InvalidDefinition if the end of a pause has passed."""
    if until is not None and until <= clock.now():
        message = f"{until:%Y-%m-%d %H:%M:%S %Z} has passed; choose a later instant"
        raise InvalidDefinition([Problem(("paused_until",), "past", message)])


def pause_failing(schedule_ids: Iterable[UUID | str]) -> list[UUID]:
    """Pause those that have failed as often in a row as they may; answers which.

    In the transaction that has counted the failures.
    """
    chosen = Schedule.objects.filter(
        id__in=list(schedule_ids), enabled=True, consecutive_failures__gte=F("pause_after_failures")
    )
    failing = list(chosen.order_by("id").select_for_update())
    for schedule in failing:
        failures = f"{schedule.consecutive_failures} failures in a row"
        last = telling.last_failure(schedule.id)
        reason = f"paused by itself after {failures}{last and f'; the last: {last}'}"
        changes = {"enabled": False, "pause_reason": reason}
        try:
            paused = current(schedule).model_copy(update=changes)
        except InvalidDefinition:
            logger.exception("Schedule %r cannot be read and is not paused", schedule.name)
            continue
        edits.replace(schedule, paused, audit.SYSTEM)
    return [schedule.id for schedule in failing]


def is_failing(schedule: Schedule) -> bool:
    """True if it has failed as often in a row as it may."""
    most = schedule.pause_after_failures
    return most is not None and schedule.consecutive_failures >= most


def resume(schedule_id: UUID, *, actor: Actor) -> Schedule:
    """End a pause of either kind."""
    return enable(schedule_id, actor=actor)


def delete(schedule_id: UUID, *, actor: Actor) -> None:
    """Remove the schedule; its executions, fires and audit stay readable, its incidents are over.

    Raises references.Needed while other schedules depend on it.
    """
    with transaction.atomic():
        references.hold()
        deciding.resolve_of_schedule(schedule_id, actor=actor, note="its schedule was deleted")
        schedule = Schedule.objects.select_for_update().get(id=schedule_id)
        references.check_deletable(schedule_id)
        now = clock.now()
        pauses.settle(schedule, now=now)
        edits.tell("deleted", schedule, actor, now=now, before=stored(schedule))
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

    `by_hand` says what can be asked for beside that, and what is raised.
    """
    wanted = Wanted(parameters or {}, source=source, correlation_id=correlation_id)
    return by_hand.trigger(schedule, wanted, actor=actor).execution_id


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
                schedule.next_run_at = first_run.of(schedule, clock.now())
            except SchedulerException as error:
                schedule.enabled, schedule.pause_reason = False, str(error)
            schedule.save(update_fields=["next_run_at", "enabled", "pause_reason"])
            planned += schedule.enabled
    return planned
