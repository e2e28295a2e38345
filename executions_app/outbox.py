"""The execution row is the outbox: which messages are still to be sent, or sent again.

Publishing again never ends an execution; a duplicate dies at the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection

TAKE: Final = """
WITH chosen AS (
    SELECT id FROM task_executions WHERE status = 'queued' AND {condition}
    ORDER BY published_at LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE task_executions e SET published_at = now(), publish_count = publish_count + 1
FROM chosen WHERE e.id = chosen.id
RETURNING e.id, e.queue
"""
# A row that is locked is being claimed, or published again: it needs neither.
UNPUBLISH: Final = """
WITH chosen AS (
    SELECT id FROM task_executions WHERE status = 'queued' AND {condition}
    LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE task_executions e SET published_at = NULL, publish_count = 0
FROM chosen WHERE e.id = chosen.id
"""


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published: the queue and the execution that waits in it."""

    execution_id: UUID
    queue: str


def unsent(*, limit: int) -> list[Message]:
    """Take up to `limit` queued executions whose message is still to be sent, marked as sent."""
    return _take("published_at IS NULL", [limit])


def overdue(*, limit: int, grace_seconds: float, queues: Sequence[str]) -> list[Message]:
    """Take up to `limit` queued executions of `queues` whose message is overdue, marked as sent.

    The wait doubles with every publication, up to 60 s.
    """
    return _take(
        """
        queue = ANY(%s::text[])
        AND published_at < now() - %s * interval '1 second'
        AND published_at < now() - interval '1 second'
            * least(60, %s * power(2, least(publish_count, 10) - 1))
        """,
        [list(queues), grace_seconds, grace_seconds, limit],
    )


def _take(condition: str, parameters: Sequence[Any]) -> list[Message]:
    with connection.cursor() as cursor:
        cursor.execute(TAKE.format(condition=condition), parameters)
        return [Message(*row) for row in cursor.fetchall()]


def unpublish(ids: Sequence[UUID]) -> int:
    """Mark these queued executions as still to be sent."""
    return _unpublish("id = ANY(%s::uuid[])", [list(ids), len(ids)])


def unpublish_before(instant: datetime, *, limit: int) -> int:
    """Mark up to `limit` queued executions published before `instant` as still to be sent."""
    return _unpublish("published_at < %s", [instant, limit])


def _unpublish(condition: str, parameters: Sequence[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(UNPUBLISH.format(condition=condition), parameters)
        return int(cursor.rowcount)
