"""Watches cycles at work: how far each is, and which give no sign of life any more.

A sign is what somebody has done for the cycle: its attempt began, a stage or a step was renewed by
who carries it out, a step was planned, began or ended. A message that is sent again is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from config.env import env
from executions_app import events
from executions_app.events import NewEvent

LOCK_KEY: Final = 0x5354414C  # one that tells of stalled cycles at a time
MOST: Final = 200
LEASES: Final = 2

LIVE: Final = """
SELECT c.id, c.execution_id, c.schedule_id, c.owner_id, c.stage, agent.name AS agent,
    e.number, c.deadline, c.redriven, e.cancel_requested_at IS NOT NULL AS is_asked_to_stop,
    steps.done, steps.total,
    greatest(c.started_at, e.started_at, steps.seen_at,
        c.deadline - (e.snapshot ->> 'timeout_ms')::float * interval '1 ms',
        c.stage_expires_at - %(lease)s * interval '1 second') AS seen_at
FROM cycles c
JOIN task_executions e ON e.id = c.execution_id AND e.status = 'running'
LEFT JOIN agents agent ON agent.id = c.agent_id
CROSS JOIN LATERAL (
    SELECT count(*) AS total,
        count(*) FILTER (
            WHERE s.status IN ('completed', 'failed', 'skipped', 'cancelled')
        ) AS done,
        max(greatest(s.created_at, s.started_at, s.completed_at,
            s.lease_expires_at - %(lease)s * interval '1 second')) AS seen_at
    FROM execution_steps s WHERE s.execution_id = c.execution_id
) AS steps
WHERE c.status = 'running' AND c.stage IN ('plan', 'execute', 'summarise', 'schedule')
"""
ONE: Final = f"{LIVE} AND c.execution_id = %(execution)s"
STALLED: Final = f"""
SELECT * FROM ({LIVE}) AS live WHERE seen_at < %(before)s ORDER BY seen_at, id LIMIT %(most)s
"""  # noqa: S608  constants
STALLED_AMONG: Final = f"""
SELECT * FROM ({LIVE} AND c.id = ANY(%(among)s)) AS live
WHERE seen_at < %(before)s ORDER BY seen_at, id LIMIT %(most)s
"""  # noqa: S608  constants
TOLD: Final = """
SELECT i.execution_id FROM unnest(%(executions)s::uuid[], %(since)s::timestamptz[])
    AS i(execution_id, since)
WHERE EXISTS (
    SELECT FROM events v WHERE v.execution_id = i.execution_id AND v.type = 'agent:stalled'
        AND v.created_at >= i.since
)
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """One cycle at work. `seen_at`: its last sign of life; `agent` is None for one without AI."""

    cycle_id: UUID
    execution_id: UUID
    schedule_id: UUID | None
    owner_id: int
    stage: str
    agent: str | None
    number: int
    deadline: datetime
    redriven: int
    is_asked_to_stop: bool
    steps_done: int
    steps_total: int
    seen_at: datetime

    def is_stalled(self, now: datetime) -> bool:
        """No sign of life for two leases."""
        return self.seen_at < now - patience()

    def is_overdue(self, now: datetime) -> bool:
        """Its time limit has passed."""
        return self.deadline < now


def patience() -> timedelta:
    """How long a cycle may give no sign of life."""
    return timedelta(seconds=LEASES * env.lease_seconds)


def of_execution(execution_id: UUID) -> Watched | None:
    """How the cycle of an execution is doing; None if none is at work."""
    found = _watched(ONE, execution=execution_id)
    return found[0] if found else None


def stalled(now: datetime) -> list[Watched]:
    """Cycles that give no sign of life any more, the longest silent first."""
    return _watched(STALLED, before=now - patience(), most=MOST)


def tell_of_stalled(now: datetime, *, among: Sequence[UUID]) -> int:
    """Have an event say of each of these cycles that is stalled, once per silence: how many.

    Any number may call it at once: one does it.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK_KEY])
        if not cursor.fetchone()[0]:
            return 0
        words = {"before": now - patience(), "most": MOST, "among": list(among)}
        found = _watched(STALLED_AMONG, **words)
        told = _told(found) if found else set()
        new = [_event(one, now) for one in found if one.execution_id not in told]
        events.emit(new)
    if new:
        events.announce()
    return len(new)


def _told(found: Sequence[Watched]) -> set[UUID]:
    words: dict[str, Any] = {
        "executions": [one.execution_id for one in found],
        "since": [one.seen_at for one in found],
    }
    with connection.cursor() as cursor:
        cursor.execute(TOLD, words)
        return {row[0] for row in cursor.fetchall()}


def _event(one: Watched, now: datetime) -> NewEvent:
    return NewEvent(
        type="agent:stalled",
        topic=f"execution:{one.execution_id}",
        data={
            "number": one.number,
            "agent": one.agent,
            "stage": one.stage,
            "seen_at": one.seen_at,
            "silent_seconds": round((now - one.seen_at).total_seconds()),
            "steps": {"done": one.steps_done, "total": one.steps_total},
            "redriven": one.redriven,
        },
        owner_id=one.owner_id,
        schedule_id=one.schedule_id,
        execution_id=one.execution_id,
        severity="high",
    )


def _watched(statement: str, **words: Any) -> list[Watched]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"lease": env.lease_seconds, **words})
        return [Watched(*row) for row in cursor.fetchall()]
