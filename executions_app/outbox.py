"""The execution row is the outbox: which messages are still to be sent, or sent again.

Publishing again never ends an execution; a duplicate dies at the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection

from executions_app import prepared

# Of a slice whose worker died nobody knows which have begun: what must not be begun twice is no
# part of any.
ALONE: Final = "coalesce({config}->>'idempotent' = 'false', false)"
# A row that is locked is being claimed, or published again: it needs neither.
TAKE: Final = """
WITH chosen AS (
    SELECT id FROM task_executions WHERE status = 'queued' AND {condition}
    ORDER BY published_at LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE task_executions
SET {move}published_at = now(), publish_count = publish_count + 1
WHERE id = ANY(ARRAY(SELECT id FROM chosen))
RETURNING id, queue, CASE WHEN attempt > 0 OR travels_alone OR {alone} THEN ''
    ELSE snapshot->>'task_type' END
"""
OF_A_ROW: Final = ALONE.format(config="snapshot->'task_config'")
UNSENT: Final = TAKE.format(move="", condition="published_at IS NULL", alone=OF_A_ROW)
OVERDUE: Final = TAKE.format(
    move="",
    alone=OF_A_ROW,
    condition="""queue = ANY(%s::text[])
        AND published_at < now() - %s * interval '1 second'
        AND published_at < now() - interval '1 second'
            * least(60, %s * power(2, least(publish_count, 10) - 1))""",
)
# Aging: a queue that is always passed over for others must not keep its rows for ever.
PROMOTE: Final = TAKE.format(
    move="queue = %s, ",
    alone=OF_A_ROW,
    condition="""queue = %s
        AND published_at < now() - least(60, %s) * interval '1 second'
        AND queued_at < now() - %s * interval '1 second'""",
)
UNPUBLISH: Final = """
WITH chosen AS (
    SELECT id FROM task_executions WHERE status = 'queued' AND {condition}
    LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE task_executions SET published_at = NULL, publish_count = 0
WHERE id = ANY(ARRAY(SELECT id FROM chosen))
"""


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published: the queue and the execution that waits in it.

    `task_type` is empty where the execution must not share a message with others; `predicted_ms`
    says how long it will probably take, None if nobody knows.
    """

    execution_id: UUID
    queue: str
    predicted_ms: float | None = None
    task_type: str = field(default="", compare=False)


def unsent(*, limit: int) -> list[Message]:
    """Take up to `limit` queued executions whose message is still to be sent, marked as sent."""
    return _take(UNSENT, [limit])


def overdue(*, limit: int, grace_seconds: float, queues: Sequence[str]) -> list[Message]:
    """Take up to `limit` queued executions of `queues` whose message is overdue, marked as sent.

    The wait doubles with every publication, up to 60 s.
    """
    return _take(OVERDUE, [list(queues), grace_seconds, grace_seconds, limit])


def promote(*, source: str, target: str, after_seconds: float, limit: int) -> list[Message]:
    """Move up to `limit` executions that stand in queue `source` too long to `target`, as sent.

    Their old messages stay where they are; whichever is read first wins.
    """
    return _take(PROMOTE, [source, after_seconds, after_seconds, limit, target])


def _take(statement: str, parameters: Sequence[Any]) -> list[Message]:
    rows = prepared.execute(statement, parameters).fetchall()
    return [Message(row[0], row[1], task_type=row[2]) for row in rows]


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
