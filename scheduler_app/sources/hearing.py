"""Reads what happened to executions and all else, for the schedules that it may start.

Order and reading are those of the live feed: (xid, id), below the oldest transaction still open. A
page is of events of every type, so that what it costs is bounded, however rare the wanted ones are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection

from executions_app.events import Cursor
from executions_app.subscriptions import FOR_EVERYBODY
from scheduler_app.sources.starting import CHAIN

AT_ONCE: Final = 200  # events in one transaction
LAST_ID: Final = UUID(int=2**128 - 1)
LOCK: Final = "SELECT xid, event_id FROM event_cursor FOR UPDATE SKIP LOCKED"
MAKE: Final = """
INSERT INTO event_cursor (id, xid, event_id) VALUES (1, 0, %s) ON CONFLICT (id) DO NOTHING
RETURNING xid, event_id
"""
LISTENING: Final = """
SELECT s.id, s.owner_id, l.since_xid, s.trigger_config->>'event', u.is_superuser
FROM event_listeners l
JOIN task_schedules s ON s.id = l.schedule_id AND s.enabled
JOIN auth_user u ON u.id = s.owner_id
"""
# The page is of all events, so that its cost is bounded; the last one is answered, wanted or not.
READ: Final = """
SELECT xid, id, type, topic, owner_id, schedule_id, execution_id, data::text, created_at, total
FROM (
    SELECT *, row_number() OVER (ORDER BY xid, id) AS place, count(*) OVER () AS total
    FROM (
        SELECT xid, id, type, topic, owner_id, schedule_id, execution_id, data, created_at
        FROM events
        WHERE (xid, id) > (%s, %s) AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        ORDER BY xid, id LIMIT %s
    ) AS page
) AS numbered
WHERE type = ANY(%s) OR place = total ORDER BY place
"""
ORIGINS: Final = f"""
SELECT id, schedule_id::text, correlation_id, coalesce(snapshot->'{CHAIN}', '[]')::text
FROM task_executions WHERE id = ANY(%s)
"""  # noqa: S608  composed of constants of this package only


@dataclass(frozen=True, slots=True)
class Listener:
    """A schedule that hears events of one type, as far as deciding about them goes."""

    schedule_id: UUID
    owner_id: int
    since_xid: int
    event: str
    sees_all: bool

    def hears(self, event: Heard) -> bool:
        """True for an event that its owner may see, of a transaction since it listens."""
        is_visible = self.sees_all or event.type in FOR_EVERYBODY or event.owner_id == self.owner_id
        return event.cursor.xid > self.since_xid and is_visible


@dataclass(frozen=True, slots=True)
class Heard:
    """One committed event."""

    cursor: Cursor
    type: str
    topic: str
    owner_id: int | None
    schedule_id: UUID | None
    execution_id: UUID | None
    data: dict[str, Any]
    created_at: datetime

    def shown(self) -> dict[str, Any]:
        """What filters look at and executions are given."""
        return {
            "id": str(self.cursor),
            "type": self.type,
            "topic": self.topic,
            "ts": self.created_at.isoformat().replace("+00:00", "Z"),
            "schedule_id": self.schedule_id and str(self.schedule_id),
            "execution_id": self.execution_id and str(self.execution_id),
            "data": self.data,
        }


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event comes from: the correlation, and the schedules that led to it."""

    correlation_id: str = ""
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The wanted events behind the cursor, and where it stands behind them."""

    events: list[Heard]
    end: Cursor
    is_full: bool


def lock_cursor() -> Cursor | None:
    """Up to where all were heard, locked; None if another beat is at it."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
        row = cursor.fetchone()
        if row is None:
            cursor.execute(MAKE, [UUID(int=0)])
            row = cursor.fetchone()
    return None if row is None else Cursor(*row)


def listening() -> list[Listener]:
    """Every enabled schedule that hears events."""
    with connection.cursor() as cursor:
        cursor.execute(LISTENING)
        return [Listener(*row) for row in cursor.fetchall()]


def read(since: Cursor, listeners: Sequence[Listener]) -> Page | None:
    """The next committed events, None if there are none; what was before all listeners is left."""
    earliest = Cursor(min(one.since_xid for one in listeners), LAST_ID)
    start = max(since, earliest)
    wanted = {one.event for one in listeners}
    with connection.cursor() as cursor:
        cursor.execute(READ, [start.xid, start.id, AT_ONCE, sorted(wanted)])
        rows = cursor.fetchall()
    if not rows:
        return None
    page = [_heard(row) for row in rows]
    heard = [one for one in page if one.type in wanted]
    return Page(heard, page[-1].cursor, is_full=rows[-1][-1] >= AT_ONCE)


def _heard(row: Sequence[Any]) -> Heard:
    return Heard(
        cursor=Cursor(row[0], row[1]),
        type=row[2],
        topic=row[3],
        owner_id=row[4],
        schedule_id=row[5],
        execution_id=row[6],
        data=json.loads(row[7]),
        created_at=row[8],
    )


def origins(execution_ids: Iterable[UUID]) -> dict[UUID | None, Origin]:
    """Where events of these executions come from; the last schedule in a chain is their own."""
    with connection.cursor() as cursor:
        cursor.execute(ORIGINS, [list(set(execution_ids))])
        return {
            row[0]: Origin(row[2], (*json.loads(row[3]), *([row[1]] if row[1] else [])))
            for row in cursor.fetchall()
        }
