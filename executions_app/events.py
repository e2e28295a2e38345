"""What the rest of the world may know: one row per thing that happened, in the same transaction.

Live updates are a reading of this table: a commit only rings a bell (`announce`), and whoever is
subscribed reads the rows behind its cursor. Order is (xid, id) and a reader stops below the oldest
transaction still open, because ids and commits disagree; a cursor on ids alone loses events of
concurrent writers. Ids take the clock, not the transaction's `now()`, so that the events of one
transaction keep their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from executions_app import announcer, prepared

VERSION: Final = 1
FRESH_ID: Final = (
    "cadenza_uuid7_of((SELECT cadenza_uuid7()), id)"  # one event per row of a statement
)

EMIT: Final = """
INSERT INTO events (id, xid, type, topic, owner_id, schedule_id, execution_id, severity, data,
                    created_at)
SELECT cadenza_uuid7(), pg_current_xact_id()::text::bigint, type,
    topic, owner_id, schedule_id, execution_id, severity, data::jsonb, now()
FROM unnest(%s::text[], %s::text[], %s::int[], %s::uuid[], %s::uuid[], %s::text[], %s::text[])
    AS e(type, topic, owner_id, schedule_id, execution_id, severity, data)
"""

TYPES: Final[dict[str, str]] = {
    "execution:queued": "an execution stands in its queue",
    "execution:held": "an execution that is due waits for what held_by names",
    "execution:started": "a worker claimed an execution: a new attempt runs",
    "execution:waiting": "a running execution waits for a person to approve its plan",
    "execution:approved": "a person approved the plan: the execution is due, no attempt was used",
    "execution:progress": "a running execution told how far it is",
    "execution:completed": "an execution ended well",
    "execution:failed": "an execution was given up",
    "execution:cancelled": "an execution was cancelled",
    "execution:cancel_requested": "a running execution was asked to stop",
    "execution:retry_scheduled": "an attempt failed; another is due at due_at",
    "execution:handed_back": "a claimed execution went back to its queue unstarted",
    "execution:requeued": "a person gave a failed execution a new budget",
    "agent:started": "an execution of an agent began",
    "agent:progress": "an execution of an agent told how far it is",
    "agent:completed": "an execution of an agent ended well",
    "agent:failed": "an execution of an agent failed or was cancelled",
    "agent:log": "an agent says something of its work",
    "agent:stalled": "a running cycle gives no sign of life any more",
    "agent:unhealthy": "an agent, or a provider of models, failed three times in a row",
    "agent:recovered": "an agent, or a provider of models, that was left out does its work again",
    "step:started": "a call of an execution's plan began",
    "step:completed": "a call of an execution's plan ended well",
    "step:failed": "a call of an execution's plan failed",
    "step:skipped": "a call of an execution's plan will not be made: reason says why",
    "step:cancelled": "a call of an execution's plan was cancelled, begun or not",
    "agent:token_spike": "a cycle used several times the tokens that those before it did",
    "schedule:created": "a schedule was created",
    "schedule:updated": "a schedule was edited, switched or paused, or its next run moved",
    "schedule:decided": "an AI's decision about the next run was made, or what became of it",
    "schedule:deleted": "a schedule was deleted",
    "schedule:start_refused": "an event did not start a schedule, which would have led to itself",
    "error:recorded": "an error record was written",
    "error:updated": "an error record was retried, resolved, ignored or escalated",
    "incident:opened": "a schedule failed in a way that it had not failed in before",
    "incident:reopened": "an error, or a person, opened an incident again that was resolved",
    "incident:acknowledged": "a person is at an incident",
    "incident:ignored": "a person said that an incident does not matter",
    "incident:resolved": "a person said that the cause of an incident is gone",
    "incident:recovered": "an incident was resolved by itself: its schedule does its work again",
    "breaker:opened": "an endpoint fails: no more calls for now",
    "breaker:half_open": "one call probes an endpoint that was left alone",
    "breaker:closed": "calls of an endpoint go out again",
    "bulk:progress": "a bulk operation began, came further or ended",
    "alert:fired": "a rule found something that is not as it should be",
    "alert:resolved": "what an alert told of is over, or nobody looks for it any more",
    "scheduler:status": "the system's state changed",
    "recovery:status": "retries were stopped or started",
}


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event to be written; `topic` names its subject as `kind:id`."""

    type: str
    topic: str
    data: Mapping[str, Any] = field(default_factory=dict)
    owner_id: int | None = None
    schedule_id: UUID | None = None
    execution_id: UUID | None = None
    severity: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the feed: everything at or below it was seen."""

    xid: int
    id: UUID

    def __str__(self) -> str:
        return f"{self.xid:x}-{self.id.hex}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str` wrote; ValueError if it is none."""
        xid, _, hexadecimal = text.partition("-")
        return cls(int(xid, 16), UUID(hexadecimal))


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event as it is read back, with its place in the feed."""

    cursor: Cursor
    type: str
    topic: str
    owner_id: int | None
    schedule_id: UUID | None
    execution_id: UUID | None
    severity: str
    data: dict[str, Any]
    created_at: datetime

    def message(self) -> dict[str, Any]:
        """The shape that clients receive."""
        return {
            "v": VERSION,
            "id": str(self.cursor),
            "ts": self.created_at.isoformat().replace("+00:00", "Z"),
            "type": self.type,
            "topic": self.topic,
            "data": self.data,
        }


def insert_select(
    *, type_: str, source: str, data: str, where: str = "true", id_: str = FRESH_ID
) -> str:
    """The INSERT of one event per row of `source`, for statements that move executions."""
    return f"""
    INSERT INTO events (id, xid, type, topic, owner_id, schedule_id, execution_id, severity, data,
                        created_at)
    SELECT {id_}, (SELECT pg_current_xact_id()::text::bigint), {type_},
        'execution:' || id, owner_id, schedule_id, id, '', jsonb_build_object({data}), now()
    FROM {source} WHERE {where}
    """  # noqa: S608  composed of constants of this package only


def emit(events: Sequence[NewEvent]) -> None:
    """Write events in the caller's transaction."""
    if not events:
        return
    prepared.execute(
        EMIT,
        [
            prepared.array(one.type for one in events),
            prepared.array(one.topic for one in events),
            prepared.array(one.owner_id for one in events),
            prepared.array(one.schedule_id for one in events),
            prepared.array(one.execution_id for one in events),
            prepared.array(one.severity for one in events),
            prepared.array(json.dumps(one.data, default=str) for one in events),
        ],
    )


def announce() -> None:
    """Tell whoever is subscribed once new events are committed; best effort, never blocks.

    Where they are committed already, this takes no connection: nobody would give it back.
    """
    if connection.in_atomic_block:
        transaction.on_commit(announcer.ring)
    else:
        announcer.ring()


def after(cursor: Cursor, *, limit: int) -> list[Recorded]:
    """The next committed events behind `cursor`, in the order that never skips one."""
    with connection.cursor() as reading:
        reading.execute(
            """
            SELECT xid, id, type, topic, owner_id, schedule_id, execution_id, severity, data,
                   created_at
            FROM events
            WHERE (xid, id) > (%s, %s)
              AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
            ORDER BY xid, id LIMIT %s
            """,
            [cursor.xid, cursor.id, limit],
        )
        return [_recorded(row) for row in reading.fetchall()]


def _recorded(row: Sequence[Any]) -> Recorded:
    return Recorded(
        cursor=Cursor(row[0], row[1]),
        type=row[2],
        topic=row[3],
        owner_id=row[4],
        schedule_id=row[5],
        execution_id=row[6],
        severity=row[7],
        data=json.loads(row[8]),
        created_at=row[9],
    )


def end() -> Cursor:
    """The place in the feed behind everything that is committed now."""
    with connection.cursor() as reading:
        reading.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return Cursor(reading.fetchone()[0] - 1, UUID(int=2**128 - 1))
