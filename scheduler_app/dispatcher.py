"""START READING HERE: due schedules become executions, executions become messages.

`dispatch_due` is one round: in one transaction per batch it takes the schedules whose time has
come, asks `policies` what becomes of each fire, records fires and executions and moves
`next_run_at`; only after the commit are messages sent. The execution row is the outbox: a round
that dies anywhere is finished by the next one, here or in another beat.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from config.env import env
from errors_app import recovery
from executions_app import audit, clock, events, lifecycle, outbox, partitions
from executions_app.database_errors import is_of_the_database
from executions_app.outbox import Message
from executions_app.states import SchedulerException
from scheduler_app import fires, queues, system
from scheduler_app.models import Schedule

MAX_BATCHES: Final = 20  # then the other duties of a beat have their turn
IDLE_QUEUE_GRACE_SECONDS: Final = 5.0
BUSY_QUEUE_GRACE_SECONDS: Final = 60.0
BUSY_QUEUE_MOST_AT_ONCE: Final = 20

logger = logging.getLogger(__name__)

DUE: Final = """
SELECT id FROM task_schedules
WHERE enabled AND next_run_at <= now() AND ({condition})
ORDER BY array_position(ARRAY['critical', 'high', 'normal', 'low'], priority), next_run_at
LIMIT %s FOR UPDATE SKIP LOCKED
"""
ADVANCE: Final = """
UPDATE task_schedules s SET
    next_run_at = i.next_run_at, enabled = i.next_run_at IS NOT NULL,
    last_run_at = coalesce(i.last_run_at, s.last_run_at),
    missed_count = s.missed_count + i.missed
FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::bigint[])
    AS i(id, next_run_at, last_run_at, missed)
WHERE s.id = i.id
"""
RECORD_FIRES: Final = """
INSERT INTO fire_records (id, schedule_id, nominal_at, cause, nominal_until, count, reason,
                          execution_id, lateness_ms, created_at)
SELECT cadenza_uuid7(now()), schedule_id, nominal_at, '', nominal_until, count, reason,
    execution_id, greatest(0, extract(epoch FROM now() - nominal_at) * 1000), now()
FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::text[], %s::uuid[])
    AS f(schedule_id, nominal_at, nominal_until, count, reason, execution_id)
ON CONFLICT (schedule_id, nominal_at, cause) DO NOTHING
RETURNING execution_id
"""
SECONDS_UNTIL_DUE: Final = """
SELECT extract(epoch FROM least(
    (SELECT min(next_run_at) FROM task_schedules WHERE enabled AND next_run_at IS NOT NULL),
    (SELECT min(due_at) FROM task_executions WHERE status = 'pending' AND held_by = ''
        AND (attempt = 0 OR error_recovery_running))
) - now())
FROM system_state WHERE scheduler_running
"""


@dataclass(slots=True)
class Round:
    """What one round did, for logs, metrics and the `tick` command."""

    fired: int = 0
    queued: int = 0
    republished: int = 0
    disabled: list[str] = field(default_factory=list)
    unsent: int = 0


def dispatch_due() -> Round:
    """Dispatch everything that is due now, batch by batch."""
    done = Round()
    for _ in range(MAX_BATCHES):
        taken = _fire_batch(done)
        released = release_due(done=done)
        if taken < env.scheduler_batch_size and released < env.scheduler_batch_size:
            break
    return done


def _fire_batch(done: Round) -> int:
    try:
        taken, messages = _fire(done, limit=env.scheduler_batch_size)
    except (DatabaseError, SchedulerException):
        logger.exception("A batch failed as a whole; its schedules are dispatched one by one")
        return _fire_one_by_one(done)
    _send(messages, done)
    return taken


def _fire_one_by_one(done: Round) -> int:
    """Let each due schedule succeed or fail alone; one that fails is disabled, with a record."""
    ids = list(
        Schedule.objects.filter(enabled=True, next_run_at__lte=clock.now())
        .order_by("next_run_at")
        .values_list("id", flat=True)[: env.scheduler_batch_size]
    )
    for one in ids:
        try:
            _, messages = _fire(done, limit=1, only=one)
        except (DatabaseError, SchedulerException) as error:
            if is_of_the_database(error):
                raise
            _disable(one, error, done)
        else:
            _send(messages, done)
    return len(ids)


def fire_if_running(schedule_id: UUID) -> None:
    """Fire what of this schedule is due already, before a change of it moves its next run."""
    if system.read().scheduler_running:
        done = Round()
        _, messages = _fire(done, limit=1, only=schedule_id)
        _send(messages, done)


def _fire(done: Round, *, limit: int, only: UUID | None = None) -> tuple[int, list[Message]]:
    with transaction.atomic():
        now = clock.now()
        schedules = _take_due(limit=limit, only=only)
        planned, broken = fires.plan(schedules, now=now)
        for schedule, error in broken:
            _disable_now(schedule, error, done)
        nominal = (fire.nominal_at for one in planned for fire in one.fires)
        partitions.ensure(partitions.FIRE_RECORDS, nominal)
        recorded = _record_fires(planned)
        created = [one for one in fires.executions(planned, now=now) if one.id in recorded]
        lifecycle.create(created)
        _advance(planned)
    done.fired += len(recorded)
    done.queued += len(created)
    if created or broken:
        events.announce()
    return len(schedules), [Message(one.id, one.priority) for one in created]


def _take_due(*, limit: int, only: UUID | None) -> list[Schedule]:
    condition = "true" if only is None else "id = %s"
    parameters: list[Any] = [limit] if only is None else [only, limit]
    with connection.cursor() as cursor:
        cursor.execute(DUE.format(condition=condition), parameters)
        ids = [row[0] for row in cursor.fetchall()]
    by_id = Schedule.objects.in_bulk(ids)
    return [by_id[one] for one in ids]


def _record_fires(planned: Sequence[fires.Planned]) -> set[UUID | None]:
    """Insert the fire records; a fire that is already recorded is left as it is, and not run."""
    rows = [(one, fire) for one in planned for fire in one.fires]
    if not rows:
        return set()
    columns: list[list[Any]] = [
        [one.schedule.id for one, _ in rows],
        [fire.nominal_at for _, fire in rows],
        [fire.nominal_until for _, fire in rows],
        [fire.count for _, fire in rows],
        [fire.reason.value for _, fire in rows],
        [one.execution_ids.get(fire.nominal_at) for one, fire in rows],
    ]
    with connection.cursor() as cursor:
        cursor.execute(RECORD_FIRES, columns)
        return {row[0] for row in cursor.fetchall()}


def _advance(planned: Sequence[fires.Planned]) -> None:
    if not planned:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            ADVANCE,
            [
                [one.schedule.id for one in planned],
                [one.next_run_at for one in planned],
                [one.last_run_at for one in planned],
                [one.missed for one in planned],
            ],
        )


def _disable(schedule_id: UUID, error: BaseException, done: Round) -> None:
    with transaction.atomic():
        # A row that cannot be read as a whole must still be found and disabled.
        rows = Schedule.objects.only("id", "name", "owner_id")
        schedule = rows.select_for_update().get(id=schedule_id)
        _disable_now(schedule, error, done)


def _disable_now(schedule: Schedule, error: BaseException, done: Round) -> None:
    logger.error("Schedule %r cannot be dispatched and is disabled: %s", schedule.name, error)
    now = clock.now()
    note = "The schedule was disabled; correct it and enable it again"
    Schedule.objects.filter(id=schedule.id).update(
        enabled=False, next_run_at=None, pause_reason=f"cannot be dispatched: {error}"
    )
    recovery.record_schedule_failure(
        schedule_id=schedule.id, owner_id=schedule.owner_id, error=error, now=now, note=note
    )
    audit.record(
        audit.SYSTEM,
        "schedule.disabled",
        object_type="schedule",
        object_id=schedule.id,
        now=now,
        note=str(error),
    )
    events.emit(
        [
            events.NewEvent(
                "schedule:updated",
                f"schedule:{schedule.id}",
                {"name": schedule.name, "enabled": False, "next_run_at": None},
                owner_id=schedule.owner_id,
                schedule_id=schedule.id,
            )
        ]
    )
    done.disabled.append(schedule.name)


def release_due(*, done: Round | None = None, ids: Sequence[UUID] | None = None) -> int:
    """Queue and publish pending executions that are due: delays, retries, triggers by hand."""
    done = done or Round()
    with transaction.atomic():
        queued = lifecycle.queue_due(limit=env.scheduler_batch_size, ids=ids)
        recovery.mark_retrying([message.execution_id for message, made in queued if made])
    if queued:
        events.announce()
        done.queued += len(queued)
        _send([message for message, _ in queued], done)
    return len(queued)


def release_due_if_running(ids: Sequence[UUID]) -> int:
    """Queue these executions at once, unless the system is stopped: then they wait, pending."""
    return release_due(ids=ids) if system.read().scheduler_running else 0


def republish_overdue() -> int:
    """Publish queued executions again whose message must have been lost.

    While a queue holds messages its rows may simply be waiting: they are given a minute, and then
    few go again at a time, or duplicates would outlive the backlog. Raises BrokerAway.
    """
    depths = queues.depths()
    idle = [name for name in queues.PRIORITY_QUEUES if not depths[name]]
    busy = [name for name in queues.PRIORITY_QUEUES if depths[name]]
    most = env.scheduler_batch_size
    messages = outbox.unsent(limit=most)
    messages += outbox.overdue(limit=most, grace_seconds=IDLE_QUEUE_GRACE_SECONDS, queues=idle)
    messages += outbox.overdue(
        limit=BUSY_QUEUE_MOST_AT_ONCE, grace_seconds=BUSY_QUEUE_GRACE_SECONDS, queues=busy
    )
    _send(messages, Round())
    return len(messages)


def _send(messages: Sequence[Message], done: Round) -> None:
    """Publish after the commit; what Redis did not take is marked to be sent by a later round."""
    try:
        queues.publish(messages)
    except queues.BrokerAway as error:
        logger.warning("%s; they are sent when it is back", error)
        outbox.unpublish([one.execution_id for one in messages])
        done.unsent += len(messages)


def seconds_until_due() -> float | None:
    """How long, by PostgreSQL's clock, until something may be dispatched; None if nothing is."""
    with connection.cursor() as cursor:
        cursor.execute(SECONDS_UNTIL_DUE)
        row = cursor.fetchone()
    return max(0.0, float(row[0])) if row and row[0] is not None else None
