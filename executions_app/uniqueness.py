"""Executions that give way to a later one of the same key: the SQL of unique work.

The floor above holds the lock of the key; so of two that come together one is first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from executions_app import prepared, statements
from executions_app.states import Outcome

HELD_BY: Final = "unique:"
NOT_ENDED: Final = "IN ('pending', 'queued', 'running', 'waiting')"
ACTIVE: Final = f"SELECT FROM task_executions WHERE id = %s AND status {NOT_ENDED}"
# Put off, it needs no room any more; when it is due again it asks again. Whom it waits for may
# still run. What was begun once, and waits for its turn with an approved plan, is not put off.
POSTPONE: Final = """
UPDATE task_executions e SET due_at = %s::timestamptz,
    parameters = coalesce(%s::jsonb, parameters),
    held_by = CASE WHEN held_by ~ '^(overlap|unique):' THEN held_by ELSE '' END,
    expires_at = expires_at + (%s::timestamptz - due_at), updated_at = now()
WHERE id = %s AND status = 'pending' AND attempt = 0 AND started_at IS NULL
RETURNING id
"""
OTHERS: Final = f"""
SELECT id, status = 'running' FROM task_executions
WHERE unique_key = %s AND unique_key <> '' AND owner_id = %s AND status {NOT_ENDED} AND id <> %s
ORDER BY id FOR UPDATE
"""  # noqa: S608  composed of constants of this module only
LET_GO: Final = f"""
WITH free AS (
    SELECT waiting.id FROM unnest(%s::text[]) AS place CROSS JOIN LATERAL (
        SELECT e.id FROM task_executions e
        WHERE e.status = 'pending' AND e.held_by <> '' AND e.held_by = place AND NOT EXISTS (
            SELECT FROM task_executions o
            WHERE o.unique_key = e.unique_key AND o.unique_key <> '' AND o.owner_id = e.owner_id
                AND o.status {NOT_ENDED} AND o.id <> e.id
                AND NOT (o.status = 'pending' AND o.held_by = e.held_by)
        )
        FOR UPDATE SKIP LOCKED
    ) AS waiting
)
UPDATE task_executions e SET held_by = '', updated_at = now()
WHERE e.id = ANY(ARRAY(SELECT id FROM free)) AND e.status = 'pending'
RETURNING e.id, e.schedule_id
"""  # noqa: S608


def held_by(key: str) -> str:
    """What is written to an execution that waits for another one of the key to end."""
    return f"{HELD_BY}{key}"


def is_active(execution_id: UUID) -> bool:
    """True if this execution has not ended."""
    return prepared.execute(ACTIVE, [execution_id]).fetchone() is not None


def postpone(execution_id: UUID, *, due_at: datetime, parameters: Mapping[str, Any] | None) -> bool:
    """Let an execution that has not been queued be due later, with new parameters if any."""
    words = None if parameters is None else json.dumps(dict(parameters))
    values = [due_at, words, due_at, execution_id]
    return prepared.execute(POSTPONE, values).fetchone() is not None


def supersede(key: str, *, owner_id: int, by: UUID) -> bool:
    """End what has not started of this key, ask what runs to stop; True if anything runs."""
    rows = prepared.execute(OTHERS, [key, owner_id, by]).fetchall()
    running = [row[0] for row in rows if row[1]]
    unstarted = [row[0] for row in rows if not row[1]]
    if unstarted:
        prepared.execute(statements.END_UNSTARTED, [unstarted, Outcome.CANCELLED.value])
    if running:
        prepared.execute(statements.ASK_TO_STOP, [running])
    return bool(running)


def let_go(places: Sequence[str]) -> dict[UUID, UUID | None]:
    """Those that waited in these places for another one of their key, which has ended.

    Answers {execution: schedule}.
    """
    rows = prepared.execute(LET_GO, [list(places)]).fetchall()
    return {row[0]: row[1] for row in rows}
