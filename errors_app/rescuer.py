"""Finds the executions whose worker is gone (lease expired) and sends them through recovery.

Runs inside every beat, any number at once, never as a message: losing Redis cannot stop it. Each
row is locked, looked at and moved in one transaction of its own. A beat does a page at a time, so
that what is due between two of them is not late.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from config.env import env
from errors_app import recovery
from errors_app.taxonomy import ErrorClass, HandlerError, JobExecutionError, WorkerLost
from executions_app import audit, clock, events, lifecycle
from executions_app.audit import Actor
from executions_app.database_errors import is_of_the_database
from executions_app.ledger import Claimed
from executions_app.models import SystemState
from executions_app.states import IllegalMove

PAGE: Final = 50
BEGINNING: Final = UUID(int=0)

logger = logging.getLogger(__name__)

HELD: Final = """
SELECT id, number, schedule_id, owner_id, snapshot, parameters, trigger, nominal_at, attempt,
    max_attempts, lease_token, started_at, worker_id, correlation_id,
    cancel_requested_at IS NOT NULL, heartbeat_at, slice_size
FROM task_executions
WHERE status = 'running' AND {condition}
"""
# The record names the worker: here its name would make an incident of each.
SILENCE: Final = "Its worker was lost: it stopped renewing its lease"
EXPIRED: Final = (
    HELD.format(condition="lease_expires_at < now() AND id > %s")
    + "ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
)
NAMED: Final = HELD.format(condition="id = %s") + "FOR UPDATE"


@dataclass(slots=True)
class Place:
    """How far one has come, by id, among the leases that have expired.

    What could not be recovered lies behind it until all the others have been looked at, too.
    """

    after: UUID = BEGINNING
    has_more: bool = False  # True after a full page


def rescue_lost(*, rng: random.Random, most: int = PAGE, place: Place | None = None) -> int:
    """Recover the next `most` executions with an expired lease; answers how many there were.

    Without a `place` from the beginning; with one behind it, and the place moves on.
    """
    place = place or Place()
    found, place.has_more = 0, False
    while found < most and (one := _rescue_one(rng, after=place.after)):
        place.after, found = one, found + 1
    place.has_more = found == most
    if not place.has_more:
        place.after = BEGINNING
    SystemState.objects.update(error_recovery_last_run_at=Now())
    events.announce()
    return found


def release(execution_id: UUID, *, actor: Actor, rng: random.Random, note: str = "") -> None:
    """End a lease by hand: its attempt counts as lost and recovery decides about another.

    A worker that still lives notices at its next heartbeat and writes nothing; until then its
    work may overlap with the next attempt. Raises IllegalMove when no lease is held.
    """
    with transaction.atomic():
        taken = _take(NAMED, [execution_id])
        if taken is None:
            raise IllegalMove("This execution is not running: there is no lease to release")
        held, slice_size, _ = taken
        audit.record(
            actor,
            "lease.released",
            object_type="execution",
            object_id=held.id,
            now=clock.now(),
            before={"worker_id": held.worker_id, "attempt": held.attempt},
            note=note,
        )
        _recover(
            held,
            slice_size=slice_size,
            rng=rng,
            error=HandlerError(
                f"The lease of worker {held.worker_id!r} was ended by {actor.name!r}",
                error_class=ErrorClass.LOST,
            ),
        )
    events.announce()


def _take(statement: str, parameters: Sequence[Any]) -> tuple[Claimed, int, datetime] | None:
    """Lock one running execution; answers it as its worker holds it.

    With it the size of its slice, and when its lease was renewed last.
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    if row is None:
        return None
    *values, renewed_at, slice_size = row
    values[4], values[5] = json.loads(values[4]), json.loads(values[5])
    return Claimed(*values), slice_size, renewed_at


def _rescue_one(rng: random.Random, *, after: UUID) -> UUID | None:
    with transaction.atomic():
        taken = _take(EXPIRED, [after])
        if taken is None:
            return None
        held, slice_size, renewed_at = taken
        logger.warning(
            "Execution #%s was lost by worker %s in attempt %s: its lease expired",
            held.number,
            held.worker_id,
            held.attempt,
        )
        try:
            with transaction.atomic():
                error = _overrun(held, renewed_at=renewed_at) or WorkerLost(SILENCE)
                _recover(held, slice_size=slice_size, rng=rng, error=error)
        except Exception as problem:
            if is_of_the_database(problem):
                raise
            # One row that cannot be recovered must not keep the others from it.
            logger.exception("Execution #%s could not be recovered", held.number)
    return held.id


def _recover(
    held: Claimed, *, slice_size: int, rng: random.Random, error: JobExecutionError
) -> None:
    if slice_size > 1 and not held.cancel_requested and not recovery.must_not_repeat(held):
        # One job that kills its worker must not use up the attempts of its neighbours.
        lifecycle.send_alone(held)
        return
    recovery.recover(held, error, rng=rng)


def _overrun(held: Claimed, *, renewed_at: datetime) -> HandlerError | None:
    """Not lost: its worker renewed the lease until past the time limit, and then let it go.

    What counts is the last sign of life. A worker that was killed early is lost, however short the
    time limit of its job.
    """
    limit = timedelta(milliseconds=held.snapshot.get("timeout_ms", 0))
    last_renewal = timedelta(seconds=env.hard_limit_grace_seconds - env.heartbeat_seconds)
    past_it = held.started_at + max(limit + min(last_renewal, timedelta()), timedelta())
    if limit and renewed_at > past_it:
        overrun = f"The time limit of {limit.total_seconds():g} s has passed and it went on"
        return HandlerError(overrun, error_class=ErrorClass.TIMEOUT)
    return None
