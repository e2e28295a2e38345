"""One way into the queue for all that starts an execution without a clock: events and upstreams.

In the caller's transaction, which holds the lock of the schedule's row: is the schedule open to it,
what does its overlap policy say, then the execution, pending and due. The next round queues it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from errors_app import recovery
from executions_app import clock
from executions_app.database_errors import is_of_the_database
from executions_app.states import Trigger
from scheduler_app import admission, coming_rows, dispatcher, entering
from scheduler_app.doors import Doors
from scheduler_app.entering import Asked
from scheduler_app.limiting.key_templates import MissingValue
from scheduler_app.limiting.unique import Duplicate
from scheduler_app.models import Schedule
from scheduler_app.policies import FireReason, OutsideWindow
from scheduler_app.sources import listeners

CHAIN: Final = "event_chain"
COUNT: Final = """
UPDATE task_schedules SET fired_count = fired_count + 1, last_run_at = now(),
    enabled = enabled AND (max_runs IS NULL OR fired_count + 1 < max_runs)
WHERE id = %s RETURNING enabled, fired_count
"""


class Closed(StrEnum):
    """Why a schedule takes nothing now, whatever arrives."""

    DISABLED = "disabled"
    PAUSED = "paused"
    NOT_YET = "not_yet"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Cause:
    """What starts an execution: the event or the upstream, and what it hands on."""

    trigger: Trigger
    parameters: Mapping[str, Any]
    correlation_id: str = ""
    chain: Sequence[str] = ()
    """The schedules whose executions led here, the first one first."""
    nominal_at: datetime | None = None
    """Of the fire record, if there is one."""


@dataclass(frozen=True, slots=True)
class Started:
    """The execution that was made, or the reason why there is none."""

    execution_id: UUID | None
    reason: FireReason


def closed(schedule: Schedule, *, at: datetime) -> Closed | None:
    """Why the schedule takes nothing at this instant, None if it does."""
    if not schedule.enabled:
        return Closed.DISABLED
    if schedule.paused_until is not None and schedule.paused_until > at:
        return Closed.PAUSED
    if schedule.start_at is not None and schedule.start_at > at:
        return Closed.NOT_YET
    if schedule.end_at is not None and schedule.end_at < at:
        return Closed.OVER
    return None


@contextmanager
def alone(schedule: Schedule) -> Iterator[None]:
    """A savepoint for what is done with one schedule: if it fails, it is disabled, with a record.

    What only lacks a value that a key needs is recorded. Trouble that is not its own is raised.
    """
    try:
        with transaction.atomic():
            yield
    except MissingValue as error:
        recovery.record_schedule_failure(
            schedule_id=schedule.id,
            owner_id=schedule.owner_id,
            error=error,
            now=clock.now(),
            note="It was not started; correct its keys or what starts it",
        )
    except Exception as error:
        if is_of_the_database(error):
            raise
        dispatcher.disable(schedule, error)
        listeners.leave(schedule.id)
        schedule.enabled = False


def start(schedule: Schedule, cause: Cause, *, now: datetime) -> Started:
    """Make the execution of an open schedule, or say what its policies have against it.

    Raises MissingValue if a key of the schedule names what the parameters do not have.
    """
    reason, due_at = _doors(schedule).passes(now)
    if due_at is None:
        return Started(None, reason)
    try:
        with transaction.atomic():  # a key of unique work that is taken for nothing is given back
            return _admitted(schedule, cause, due_at=due_at, now=now)
    except admission.StillActive:
        return Started(None, FireReason.SKIPPED_OVERLAP)


def _doors(schedule: Schedule) -> Doors:
    return Doors(
        schedule.id,
        coming_rows.openings(schedule),
        OutsideWindow(schedule.outside_window),
        schedule.jitter_ms,
        schedule.spread_ms,
    )


def _admitted(schedule: Schedule, cause: Cause, *, due_at: datetime, now: datetime) -> Started:
    asked = Asked(
        cause.trigger,
        cause.parameters,
        due_at=due_at,
        openings=coming_rows.openings(schedule),
        nominal_at=cause.nominal_at,
        correlation_id=cause.correlation_id,
        also={CHAIN: list(cause.chain)} if cause.chain else {},
    )
    entered = entering.enter(schedule, asked, now=now)
    if isinstance(entered, Duplicate):
        return Started(None, FireReason.SKIPPED_DUPLICATE)
    _count(schedule)
    return Started(entered.execution_id, FireReason.DISPATCHED)


def _count(schedule: Schedule) -> None:
    """One more of its runs; the last one that it may have finishes it."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT, [schedule.id])
        schedule.enabled, schedule.fired_count = cursor.fetchone()
    if not schedule.enabled:
        listeners.leave(schedule.id)
