"""Backfills: the past fires of a range run again, few at a time, beside the schedule's own cadence.

A backfill is a row with a cursor. `advance`, called by every beat, makes the next executions while
fewer than `max_concurrent` of them are active; fires, executions and cursor move in one
transaction, so any number of beats and any crash leave each fire with exactly one execution.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from executions_app import audit, clock, ids, lifecycle
from executions_app.audit import Actor
from executions_app.models import Execution
from executions_app.states import ACTIVE, ExecutionStatus, IllegalMove, SchedulerException, Trigger
from scheduler_app import backfill_plan, backfill_rows, system
from scheduler_app.backfill_plan import InvalidBackfill, Plan
from scheduler_app.models import Backfill, Schedule
from scheduler_app.models_sources import BackfillStatus

MOST_CONCURRENT: Final = 100
MOST_LOOKED_AT: Final = 1_000
MOST_AT_ONCE: Final = 20
# Counted per backfill from the index of what is active of its schedule.
WITH_ROOM: Final = """
SELECT id FROM (
    SELECT b.id, b.updated_at, b.max_concurrent > (
        SELECT count(*) FROM task_executions e
        WHERE e.schedule_id = b.schedule_id AND e.correlation_id = b.id::text
            AND e.status IN ('pending', 'queued', 'running', 'waiting')
    ) AS has_room
    FROM backfills b WHERE b.status = 'running' ORDER BY b.id LIMIT %s
) AS running WHERE has_room ORDER BY updated_at LIMIT %s
"""
MOVES: Final = {
    BackfillStatus.PAUSED: {BackfillStatus.RUNNING},
    BackfillStatus.RUNNING: {BackfillStatus.PAUSED},
    BackfillStatus.ABORTED: {BackfillStatus.RUNNING, BackfillStatus.PAUSED},
}
"""Status -> those from which a person may bring it there."""


def create(
    schedule: Schedule,
    *,
    first: datetime,
    until: datetime,
    max_concurrent: int = 1,
    actor: Actor,
) -> Backfill:
    """Have the fires of [first, until] run again, `max_concurrent` at once; raises InvalidBackfill.

    Nothing has run when this answers: `advance` begins.
    """
    if not 1 <= max_concurrent <= MOST_CONCURRENT:
        message = f"must be between 1 and {MOST_CONCURRENT}"
        raise InvalidBackfill("max_concurrent", message)
    with transaction.atomic():
        now = clock.now()
        plan = backfill_plan.of(schedule, first=first, until=until, now=now)
        if not plan.runs:
            raise InvalidBackfill("from", "the schedule has no fire to run in this range")
        backfill = Backfill.objects.create(
            id=ids.new(now),
            owner_id=schedule.owner_id,
            schedule_id=schedule.id,
            range_from=first,
            range_until=until,
            total=plan.runs,
            max_concurrent=max_concurrent,
            created_at=now,
            updated_at=now,
        )
        after = {"range_from": first, "range_until": until, "total": plan.runs}
        _tell(backfill, "backfill.created", actor, now=now, after=after)
    return backfill


def plan(schedule: Schedule, *, first: datetime, until: datetime) -> Plan:
    """What `create` would have run, touching nothing; raises InvalidBackfill."""
    return backfill_plan.of(schedule, first=first, until=until, now=clock.now())


def pause(backfill_id: UUID, *, actor: Actor) -> Backfill:
    """Make no further executions until `resume`; raises IllegalMove."""
    return _move(backfill_id, BackfillStatus.PAUSED, actor)


def resume(backfill_id: UUID, *, actor: Actor) -> Backfill:
    """Go on behind the cursor; raises IllegalMove."""
    return _move(backfill_id, BackfillStatus.RUNNING, actor)


def abort(backfill_id: UUID, *, actor: Actor) -> Backfill:
    """End it for good: what has not started is cancelled, what runs goes on. Raises IllegalMove."""
    backfill = _move(backfill_id, BackfillStatus.ABORTED, actor)
    unstarted = [ExecutionStatus.PENDING, ExecutionStatus.QUEUED]
    for execution in active(backfill).filter(status__in=unstarted).order_by("id"):
        try:
            lifecycle.cancel(execution, actor=actor)
        except SchedulerException:
            continue  # it ended or started meanwhile
    return backfill


def active(backfill: Backfill) -> Any:
    """Its executions that have not ended."""
    return Execution.objects.filter(
        schedule_id=backfill.schedule_id, correlation_id=str(backfill.id), status__in=ACTIVE
    )


def advance() -> int:
    """Make the next executions of all backfills that have room; answers how many were made.

    One indexed look where none runs. While the system is stopped none is made.
    """
    with connection.cursor() as cursor:
        cursor.execute(WITH_ROOM, [MOST_LOOKED_AT, MOST_AT_ONCE])
        with_room = [row[0] for row in cursor.fetchall()]
    if not with_room or not system.read().scheduler_running:
        return 0
    return sum(_advance(one) for one in with_room)


def _advance(backfill_id: UUID) -> int:
    with transaction.atomic():
        running = Backfill.objects.filter(id=backfill_id, status=BackfillStatus.RUNNING)
        backfill = running.select_for_update(skip_locked=True).first()
        if backfill is None:
            return 0
        schedules = Schedule.objects.select_related("calendar")
        schedule = schedules.filter(id=backfill.schedule_id).first()
        try:
            if schedule is None:
                raise InvalidBackfill("schedule", "its schedule was deleted")
            with transaction.atomic():
                return _make(backfill, schedule)
        except SchedulerException as error:
            now = clock.now()
            _put(backfill, BackfillStatus.ABORTED, now=now)
            _tell(backfill, "backfill.aborted", audit.SYSTEM, now=now, note=str(error))
    return 0


def _make(backfill: Backfill, schedule: Schedule) -> int:
    """In the transaction that has locked the backfill."""
    now = clock.now()
    activity = active(backfill).count()
    room = backfill.max_concurrent - activity
    page = backfill_plan.page(
        schedule, after=backfill.cursor, first=backfill.range_from, until=backfill.range_until,
        size=max(0, room),
    )  # fmt: skip
    made = backfill_rows.write(
        schedule, page.nominals, cause=cause(backfill), correlation_id=str(backfill.id), now=now
    )
    backfill.cursor, backfill.made = page.cursor or backfill.cursor, backfill.made + made
    if page.is_last and not made and not activity:
        _put(backfill, BackfillStatus.COMPLETED, now=now)
        _tell(backfill, "backfill.completed", audit.SYSTEM, now=now, after={"made": backfill.made})
    else:
        _put(backfill, BackfillStatus.RUNNING, now=now)
    return made


def cause(backfill: Backfill) -> str:
    """What its fire records name as their cause."""
    return f"{Trigger.BACKFILL}:{backfill.id}"


def _move(backfill_id: UUID, status: BackfillStatus, actor: Actor) -> Backfill:
    with transaction.atomic():
        backfill = Backfill.objects.select_for_update().get(id=backfill_id)
        action = {"paused": "paused", "running": "resumed", "aborted": "aborted"}[status]
        if backfill.status not in MOVES[status]:
            fitting = " or ".join(sorted(MOVES[status]))
            raise IllegalMove(
                f"This backfill is {backfill.status}; only one that is {fitting} can be {action}"
            )
        now = clock.now()
        before = {"status": str(backfill.status)}
        _put(backfill, status, now=now)
        _tell(backfill, f"backfill.{action}", actor, now=now, before=before)
    return backfill


def _put(backfill: Backfill, status: BackfillStatus, *, now: datetime) -> None:
    backfill.status, backfill.updated_at = status, now
    backfill.save(update_fields=["status", "cursor", "made", "updated_at"])


def _tell(backfill: Backfill, action: str, actor: Actor, *, now: datetime, **facts: Any) -> None:
    audit.record(actor, action, object_type="backfill", object_id=backfill.id, now=now, **facts)
