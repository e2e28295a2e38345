"""What the database says of each execution, in the words of the model."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

import psycopg
from django.db import connection

TABLES: Final = (
    "task_executions",
    "outcome_inbox",
    "events",
    "error_records",
    "dead_letters",
)
READ: Final = """
SELECT e.id, e.status, e.max_attempts, e.attempt, e.outcome, e.lease_token, e.slice_size,
    e.lease_extensions, coalesce(e.lease_expires_at < now(), false),
    e.cancel_requested_at IS NOT NULL, e.travels_alone, e.published_at IS NOT NULL, e.progress,
    CASE WHEN e.status = 'completed' THEN e.result END,
    ARRAY(SELECT attempt FROM error_records WHERE execution_id = e.id ORDER BY attempt),
    ARRAY(SELECT handling FROM dead_letters WHERE execution_id = e.id ORDER BY handled_at, id),
    (SELECT count(*) FROM outcome_inbox WHERE execution_id = e.id),
    (SELECT coalesce(jsonb_agg(jsonb_build_array(type, data->'attempt') ORDER BY xid, id), '[]')
        FROM events WHERE execution_id = e.id AND starts_with(type, 'execution:'))
FROM task_executions e
"""
WHOLE: Final = """
SELECT e::text, (SELECT count(*) FROM events WHERE execution_id = e.id),
    (SELECT count(*) FROM outcome_inbox WHERE execution_id = e.id),
    (SELECT count(*) FROM error_records WHERE execution_id = e.id),
    (SELECT count(*) FROM dead_letters WHERE execution_id = e.id)
FROM task_executions e ORDER BY id
"""

Facts = dict[str, Any]


def clear() -> None:
    """Forget the executions of the example before."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")


def whole() -> list[tuple[Any, ...]]:
    """Every column of every execution, and how much was written about it."""
    with connection.cursor() as cursor:
        cursor.execute(WHOLE)
        return list(cursor.fetchall())


def expire(execution_id: UUID) -> None:
    """Let the lease of a running execution have ended a second ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE task_executions SET lease_expires_at = now() - interval '1 second'"
            " WHERE id = %s AND status = 'running'",
            [execution_id],
        )


def facts() -> dict[UUID, Facts]:
    """Every execution as it is stored, with its events, errors, dead letters and inbox rows."""
    connection.ensure_connection()
    reading = psycopg.Cursor(connection.connection)
    return {row[0]: _facts(*row[1:]) for row in reading.execute(READ, prepare=True)}


def _facts(*columns: Any) -> Facts:
    names = (
        "status", "budget", "attempt", "outcome", "token", "slice_size", "renewals",
        "is_expired", "is_asked_to_stop", "is_alone", "is_sent", "progress", "result",
        "errors", "letters", "undrawn", "told",
    )  # fmt: skip
    stored = dict(zip(names, columns, strict=True))
    stored["progress"] = json.loads(stored["progress"])
    stored["result"] = None if stored["result"] is None else json.loads(stored["result"])
    stored["told"] = [(type_, attempt) for type_, attempt in json.loads(stored["told"])]
    stored["letters"] = sorted(stored["letters"])
    return stored
