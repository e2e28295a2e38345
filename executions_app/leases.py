"""The lease of an execution in other hands than a runner's: a cycle holds it to its deadline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from executions_app import events, prepared
from executions_app.ledger import Claimed
from executions_app.states import LostRace

HELD: Final = """
SELECT id, number, schedule_id, owner_id, snapshot, parameters, trigger, nominal_at, attempt,
    max_attempts, lease_token, started_at, worker_id, correlation_id,
    cancel_requested_at IS NOT NULL
FROM task_executions
WHERE id = %s AND status = 'running' AND lease_token = %s
"""
HAND_OVER: Final = """
UPDATE task_executions SET lease_expires_at = %s, heartbeat_at = now(), updated_at = now()
WHERE id = %s AND status = 'running' AND lease_token = %s
RETURNING queue
"""
KEEP: Final = """
UPDATE task_executions SET lease_expires_at = %s
WHERE id = %s AND status = 'running' AND lease_token = %s AND lease_expires_at < %s
RETURNING id
"""
PROGRESS: Final = """
UPDATE task_executions SET progress = %s::jsonb || jsonb_build_object(
    'percent', greatest(coalesce((progress->>'percent')::int, 0), %s)
)
WHERE id = %s AND status = 'running' AND lease_token = %s
RETURNING progress
"""


def held(execution_id: UUID, token: UUID) -> Claimed | None:
    """The execution as its holder knows it; None once the lease is another's, or it is over."""
    row = _row(HELD, [execution_id, token])
    if row is None:
        return None
    values = list(row)
    values[4], values[5] = json.loads(values[4]), json.loads(values[5])
    return Claimed(*values)


def hand_over(held: Claimed, *, until: datetime) -> str:
    """In the caller's transaction: the lease lasts until then, renewed or not; answers the queue.

    Raises LostRace.
    """
    row = _row(HAND_OVER, [until, held.id, held.lease_token])
    if row is None:
        raise LostRace("The lease of this execution is gone", execution_id=held.id)
    return str(row[0])


def keep(held: Claimed, *, until: datetime, unless_after: datetime) -> None:
    """In the caller's transaction: the lease lasts until then; never shortened.

    It is left alone if it ends at `unless_after` or later, and once it is another's. It is no sign
    of life of a worker: `heartbeat_at` stays.
    """
    prepared.execute(KEEP, [until, held.id, held.lease_token, unless_after])


def tell_progress(held: Claimed, progress: Mapping[str, Any]) -> None:
    """In the caller's transaction: how far it is ({done, total, failed, percent, current_step}).

    `percent` never goes back. Nothing is told once the lease is another's.
    """
    told = [json.dumps(dict(progress)), progress["percent"], held.id, held.lease_token]
    row = _row(PROGRESS, told)
    if row is None:
        return
    data = {"number": held.number, "name": held.snapshot.get("name"), **json.loads(row[0])}
    events.emit(
        [
            events.NewEvent(
                type=type_,
                topic=f"execution:{held.id}",
                data=data,
                owner_id=held.owner_id,
                schedule_id=held.schedule_id,
                execution_id=held.id,
            )
            for type_ in ("execution:progress", "agent:progress")
        ]
    )


def _row(statement: str, parameters: list[Any]) -> tuple[Any, ...] | None:
    return prepared.execute(statement, parameters).fetchone()
