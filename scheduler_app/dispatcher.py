"""START READING HERE: due schedules become executions, executions become messages.

`dispatch_due` is one round: in one transaction per batch it takes the schedules whose time has
come, asks `policies` what becomes of each fire, records fires and executions and moves
`next_run_at`; only after the commit are messages sent. The execution row is the outbox: a round
that dies anywhere is finished by the next one, here or in another beat.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from config.env import env
from errors_app import recovery
from executions_app import audit, clock, events, overlaps, partitions
from executions_app.database_errors import is_away, is_of_the_database
from executions_app.outbox import Message
from scheduler_app import careful, due, fires, firing, holds, sending, system
from scheduler_app.ahead import Ahead
from scheduler_app.careful import Written
from scheduler_app.due import Due
from scheduler_app.fires import Planned
from scheduler_app.models import Schedule
from scheduler_app.prediction import predictions

MAX_BATCHES: Final = 15  # then the other duties of a beat have their turn
FIRST_BATCH: Final = 100  # small: workers begin while the rest is dispatched

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Round:
    """What one round did, for logs, metrics and the `tick` command."""

    fired: int = 0
    queued: int = 0
    republished: int = 0
    disabled: list[str] = field(default_factory=list)
    unsent: int = 0


def dispatch_due(ahead: Ahead | None = None) -> Round:
    """Dispatch everything that is due now, batch by batch; given an Ahead, also what is soon."""
    done = Round()
    limit = min(FIRST_BATCH, env.scheduler_batch_size)
    for _ in range(MAX_BATCHES):
        batch = _fire_batch(done, limit=limit, ahead=ahead)
        released = release_due(done=done)
        if batch.taken < limit and released < env.scheduler_batch_size:
            break
        limit = env.scheduler_batch_size
        if batch.has_left_some:  # they would be taken again, before what is due
            ahead = None
    return done


class _Batch(NamedTuple):
    """How many schedules were locked, and what is to be sent for them.

    Some may have been left to their instant: those that are early, and busy now.
    """

    taken: int
    messages: Sequence[Message] = ()
    has_left_some: bool = False


def _fire_batch(done: Round, *, limit: int, ahead: Ahead | None) -> _Batch:
    try:
        batch = _fire(done, limit=limit, ahead=ahead)
    except Exception as error:
        if is_away(error):
            raise
        logger.exception("A batch failed as a whole; its schedules are dispatched one by one")
        return _Batch(_fire_one_by_one(done))
    done.unsent += sending.send(batch.messages)
    return batch


def _fire_one_by_one(done: Round) -> int:
    """Let each due schedule succeed or fail alone; one that fails is disabled, with a record."""
    ids = list(
        Schedule.objects.filter(enabled=True, next_run_at__lte=clock.now())
        .order_by("next_run_at")
        .values_list("id", flat=True)[: env.scheduler_batch_size]
    )
    for one in ids:
        try:
            batch = _fire(done, limit=1, only=one)
        except Exception as error:
            if is_of_the_database(error):
                raise
            _disable(one, error, done)
        else:
            done.unsent += sending.send(batch.messages)
    return len(ids)


def fire_if_running(schedule_id: UUID) -> None:
    """Fire what of this schedule is due already, before a change of it moves its next run."""
    if due.is_due_and_running(schedule_id):
        done = Round()
        done.unsent += sending.send(_fire(done, limit=1, only=schedule_id).messages)


def _fire(
    done: Round, *, limit: int, only: UUID | None = None, ahead: Ahead | None = None
) -> _Batch:
    seconds = ahead.seconds if ahead else 0.0
    with transaction.atomic():
        taken = due.take_one(only) if only else due.take(limit=limit, ahead_seconds=seconds)
        if not taken:
            if ahead:
                ahead.note_nothing()
            return _Batch(0)
        planned, written = _decide_and_write(taken, done)
    has_left_some = ahead is not None and len(planned) < len(taken)
    if ahead and (has_left_some or len(taken) < limit):
        ahead.note_look(due.instant(taken[0].now))
    done.fired += written.recorded
    done.queued += len(written.queued)
    events.announce()
    messages = [message for one in planned for message in _messages(one, written.queued)]
    return _Batch(len(taken), messages, has_left_some)


def _decide_and_write(taken: list[Due], done: Round) -> tuple[list[Planned], Written]:
    now = due.instant(taken[0].now)
    busy = due.busy([one.id for one in taken if one.asks_only_whether_busy])
    if busy:  # what is active now may have ended by then
        taken = [one for one in taken if one.id not in busy or not one.is_early]
    standing = overlaps.standing([one.id for one in taken if one.asks_what_is_active])
    planned, broken = fires.plan(taken, busy=busy, standing=standing, now=now)
    for one, error in broken:
        row = Schedule(id=UUID(one.id), name=one.name, owner_id=one.owner_id)
        _disable_now(row, error, done)
    months = {
        (fire.nominal_at.year, fire.nominal_at.month): fire.nominal_at
        for one in planned
        for fire in one.decision.fires
    }
    partitions.ensure(partitions.FIRE_RECORDS, months.values(), now=now)
    plain, with_care = careful.parted(planned)
    recorded = firing.write(plain)
    written = careful.write(with_care, now=now)
    queued = written.queued.union(one for one in recorded if one is not None)
    return planned, Written(written.recorded + len(recorded), queued)


def _messages(one: Planned, sent: Collection[UUID]) -> Iterator[Message]:
    predicted_ms = None
    if not one.due.travels_alone:
        predicted_ms = predictions.of(one.due.task_type, own_ms=one.due.run_ms)
    for execution_id in one.execution_ids:
        if execution_id is not None and execution_id in sent:
            yield Message(execution_id, one.due.priority, predicted_ms)


def _disable(schedule_id: UUID, error: BaseException, done: Round) -> None:
    with transaction.atomic():
        # A row that cannot be read as a whole must still be found and disabled.
        rows = Schedule.objects.only("id", "name", "owner_id")
        schedule = rows.select_for_update().get(id=schedule_id)
        _disable_now(schedule, error, done)


def disable(schedule: Schedule, error: BaseException) -> None:
    """In the caller's transaction: take a schedule that nothing can start out of service."""
    _disable_now(schedule, error, Round())


def _disable_now(schedule: Schedule, error: BaseException, done: Round) -> None:
    logger.error("Schedule %r cannot be dispatched and is disabled: %s", schedule.name, error)
    now = clock.now()
    note = "The schedule was disabled; correct it and enable it again"
    Schedule.objects.filter(id=schedule.id).update(
        enabled=False,
        next_run_at=None,
        pause_reason=f"cannot be dispatched: {error}",
        paused_at=Coalesce(F("next_run_at"), Now()),
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
    told = events.NewEvent(
        "schedule:updated",
        f"schedule:{schedule.id}",
        {"name": schedule.name, "enabled": False, "next_run_at": None},
        owner_id=schedule.owner_id,
        schedule_id=schedule.id,
    )
    events.emit([told])
    done.disabled.append(schedule.name)


def release_due(*, done: Round | None = None, ids: Sequence[UUID] | None = None) -> int:
    """Queue and publish pending executions that are due: delays, retries, triggers by hand.

    Those under a limit are held back while there is no room. Answers how many were due.
    """
    with transaction.atomic():
        released = holds.release(limit=env.scheduler_batch_size, ids=ids)
        _mark_retrying(released)
    _publish(released, done or Round())
    return released.looked_at


def release_held(held: holds.Held) -> int:
    """Queue and publish what was held for want of room and may go now; answers how many went."""
    with transaction.atomic():
        released = held.release(limit=env.scheduler_batch_size)
        _mark_retrying(released)
    _publish(released, Round())
    return len(released.queued)


def _mark_retrying(released: holds.Released) -> None:
    if retried := [message.execution_id for message, made in released.queued if made]:
        recovery.mark_retrying(retried)


def _publish(released: holds.Released, done: Round) -> None:
    if released.has_changed_any:
        events.announce()
    if released.queued:
        done.queued += len(released.queued)
        messages = predictions.added_to([message for message, _ in released.queued])
        done.unsent += sending.send(messages)


def release_due_if_running(ids: Sequence[UUID]) -> int:
    """Queue these executions at once, unless the system is stopped: then they wait, pending."""
    return release_due(ids=ids) if system.read().scheduler_running else 0
