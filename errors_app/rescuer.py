"""Finds the executions whose worker is gone (lease expired) and sends them through recovery.

Runs inside every beat, any number at once, never as a message: losing Redis cannot stop it. Each
row is locked, looked at and moved in one transaction of its own.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from errors_app import recovery
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import audit, clock, events, lifecycle
from executions_app.audit import Actor
from executions_app.database_errors import is_of_the_database
from executions_app.ledger import Claimed
from executions_app.states import IllegalMove

MOST_AT_ONCE: Final = 500

logger = logging.getLogger(__name__)

HELD: Final = """
SELECT id, number, schedule_id, owner_id, snapshot, parameters, trigger, nominal_at, attempt,
    max_attempts, lease_token, started_at, worker_id, correlation_id,
    cancel_requested_at IS NOT NULL, slice_size
FROM task_executions
WHERE status = 'running' AND {condition}
"""
EXPIRED: Final = (
    HELD.format(condition="lease_expires_at < now() AND id <> ALL(%s)")
    + "ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
)
NAMED: Final = HELD.format(condition="id = %s") + "FOR UPDATE"


def rescue_lost(*, rng: random.Random, most: int = MOST_AT_ONCE) -> int:
    """Recover up to `most` executions with an expired lease; answers how many there were."""
    seen: list[UUID] = []
    while len(seen) < most and (one := _rescue_one(rng, seen=seen)):
        seen.append(one)
    events.announce()
    return len(seen)


def release(execution_id: UUID, *, actor: Actor, rng: random.Random, note: str = "") -> None:
    """End a lease by hand: its attempt counts as lost and recovery decides about another.

    A worker that still lives notices at its next heartbeat and writes nothing; until then its
    work may overlap with the next attempt. Raises IllegalMove when no lease is held.
    """
    with transaction.atomic():
        taken = _take(NAMED, [execution_id])
        if taken is None:
            raise IllegalMove("This execution is not running: there is no lease to release")
        held, slice_size = taken
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
            reason=f"The lease of worker {held.worker_id!r} was ended by {actor.name!r}",
        )
    events.announce()


def _take(statement: str, parameters: Sequence[Any]) -> tuple[Claimed, int] | None:
    """Lock one running execution; answers it as its worker holds it, and its slice's size."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    if row is None:
        return None
    *values, slice_size = row
    values[4], values[5] = json.loads(values[4]), json.loads(values[5])
    return Claimed(*values), slice_size


def _rescue_one(rng: random.Random, *, seen: Sequence[UUID]) -> UUID | None:
    with transaction.atomic():
        taken = _take(EXPIRED, [seen])
        if taken is None:
            return None
        held, slice_size = taken
        logger.warning(
            "Execution #%s was lost by worker %s in attempt %s: its lease expired",
            held.number,
            held.worker_id,
            held.attempt,
        )
        reason = f"Worker {held.worker_id!r} was lost: it stopped renewing its lease"
        try:
            with transaction.atomic():
                _recover(held, slice_size=slice_size, rng=rng, reason=reason)
        except Exception as error:
            if is_of_the_database(error):
                raise
            # One row that cannot be recovered must not keep the others from it.
            logger.exception("Execution #%s could not be recovered", held.number)
    return held.id


def _recover(held: Claimed, *, slice_size: int, rng: random.Random, reason: str) -> None:
    if slice_size > 1 and not held.cancel_requested:
        # One job that kills its worker must not use up the attempts of its neighbours.
        lifecycle.send_alone(held)
        return
    recovery.recover(held, _error(held, reason), rng=rng)


def _error(held: Claimed, reason: str) -> HandlerError:
    """A lease that ended after its time limit is an overrun; before it, a lost worker."""
    limit = timedelta(milliseconds=held.snapshot.get("timeout_ms", 0))
    if limit and clock.now() > held.started_at + limit:
        overrun = f"The time limit of {limit.total_seconds():g} s has passed and the job went on"
        return HandlerError(overrun, error_class=ErrorClass.TIMEOUT)
    return HandlerError(reason, error_class=ErrorClass.LOST)
