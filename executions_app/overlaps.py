"""One execution beside others of its schedule: which have not ended, which wait for them, who goes.

What waits is `pending` with `held_by` `overlap:<schedule id>`. The floor above decides, and has
locked the schedule's row; so what is counted here stays true until its transaction ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from executions_app import prepared, statements, uniqueness
from executions_app.states import Outcome, Trigger

HELD_BY: Final = "overlap:"
# A backfill keeps to a concurrency of its own: it is in nobody's way, and nobody in its.
COUNTS: Final = "{0}.status IN ('pending', 'queued', 'running', 'waiting') AND {0}.trigger <> '{1}'"
NOT_ENDED: Final = COUNTS.format("e", Trigger.BACKFILL)
OTHER_NOT_ENDED: Final = COUNTS.format("o", Trigger.BACKFILL)
IS_HELD: Final = f"e.status = 'pending' AND e.held_by = '{HELD_BY}' || e.schedule_id"
STANDING: Final = f"""
SELECT e.schedule_id::text, count(*), count(*) FILTER (WHERE {IS_HELD})
FROM task_executions e WHERE e.schedule_id = ANY(%s::uuid[]) AND {NOT_ENDED}
GROUP BY e.schedule_id
"""  # noqa: S608  composed of constants of this package only, like all that follow
BESIDE: Final = f"""
SELECT count(*), count(*) FILTER (WHERE {IS_HELD})
FROM task_executions e WHERE e.schedule_id = %s AND {NOT_ENDED}
    AND NOT (e.unique_key = %s AND e.cancel_requested_at IS NOT NULL)
"""  # noqa: S608
WHICH: Final = f"""
SELECT e.id, e.number, e.status FROM task_executions e
WHERE e.schedule_id = %s AND {NOT_ENDED} ORDER BY e.id LIMIT %s
"""  # noqa: S608
LOCK: Final = f"""
SELECT e.id, e.schedule_id::text, e.status = 'running' FROM task_executions e
WHERE e.schedule_id = ANY(%s::uuid[]) AND {NOT_ENDED} ORDER BY e.id FOR UPDATE
"""  # noqa: S608
RELEASE: Final = f"""
WITH next AS (
    SELECT waiting.id FROM unnest(%s::uuid[]) AS s(id) CROSS JOIN LATERAL (
        SELECT e.id FROM task_executions e
        WHERE e.schedule_id = s.id AND {IS_HELD} AND NOT EXISTS (
            SELECT FROM task_executions o WHERE o.schedule_id = s.id AND {OTHER_NOT_ENDED}
                AND NOT (o.status = 'pending' AND o.held_by = e.held_by)
        )
        ORDER BY e.due_at, e.nominal_at, e.number LIMIT 1
    ) AS waiting
), locked AS (
    SELECT e.id FROM task_executions e WHERE e.id = ANY(ARRAY(SELECT id FROM next)) AND {IS_HELD}
    ORDER BY e.id FOR UPDATE
)
UPDATE task_executions e SET updated_at = now(),
    -- What was asked to stop for it, as work of its key, may still run for another schedule.
    held_by = CASE WHEN e.unique_key <> '' AND EXISTS (
        SELECT FROM task_executions o
        WHERE o.unique_key = e.unique_key AND o.unique_key <> '' AND o.owner_id = e.owner_id
            AND o.status IN ('pending', 'queued', 'running', 'waiting')
            AND o.cancel_requested_at IS NOT NULL AND o.id <> e.id
    ) THEN '{uniqueness.HELD_BY}' || e.unique_key ELSE '' END
WHERE e.id = ANY(ARRAY(SELECT id FROM locked))
RETURNING e.id, e.schedule_id
"""  # noqa: S608
# A loose scan of the index of held rows: one probe for each schedule, however many wait for it.
WAITED_FOR: Final = f"""
WITH RECURSIVE place AS (
    (SELECT held_by FROM task_executions
     WHERE status = 'pending' AND held_by <> '' AND held_by ~>~ %s AND held_by ~<~ '{HELD_BY[:-1]};'
     ORDER BY held_by USING ~<~ LIMIT 1)
    UNION ALL
    SELECT following.* FROM place CROSS JOIN LATERAL (
        SELECT held_by FROM task_executions
        WHERE status = 'pending' AND held_by <> '' AND held_by ~>~ place.held_by
            AND held_by ~<~ '{HELD_BY[:-1]};'
        ORDER BY held_by USING ~<~ LIMIT 1
    ) AS following
)
SELECT held_by FROM place LIMIT %s
"""  # noqa: S608
DELAY: Final = f"""
UPDATE task_executions e SET due_at = i.due_at, updated_at = now(),
    expires_at = e.expires_at + (i.due_at - e.due_at),
    held_by = CASE WHEN e.held_by LIKE '{uniqueness.HELD_BY}%%' THEN e.held_by ELSE '' END
FROM unnest(%s::uuid[], %s::timestamptz[]) AS i(id, due_at)
WHERE e.id = i.id AND e.status = 'pending'
"""  # noqa: S608


class Standing(NamedTuple):
    """How many executions of a schedule have not ended, and how many of them wait for others."""

    active: int = 0
    held: int = 0


class Active(NamedTuple):
    """An execution that has not ended."""

    id: UUID
    number: int
    status: str


def held_by(schedule_id: UUID | str) -> str:
    """What is written to an execution that waits for the others of this schedule."""
    return f"{HELD_BY}{schedule_id}"


def standing(schedule_ids: Sequence[str]) -> dict[str, Standing]:
    """What stands in the way of one more of these schedules; those without anything are left out.

    Asked only once the schedules are locked: a snapshot of before would miss what others created.
    """
    if not schedule_ids:
        return {}
    rows = prepared.execute(STANDING, [prepared.array_of_words(schedule_ids)]).fetchall()
    return {row[0]: Standing(row[1], row[2]) for row in rows}


def standing_beside(schedule_id: UUID, *, unique_key: str) -> Standing:
    """The same of one schedule, but for what was asked to stop for another one of this key."""
    row = prepared.execute(BESIDE, [schedule_id, unique_key]).fetchone()
    return Standing(*(row or ()))


def which(schedule_id: UUID, *, most: int) -> list[Active]:
    """The oldest executions of a schedule that have not ended, to be named to people."""
    return [Active(*row) for row in prepared.execute(WHICH, [schedule_id, most]).fetchall()]


def supersede(schedule_ids: Sequence[str]) -> set[str]:
    """In the caller's transaction: what has not started ends, what runs is asked to stop.

    Answers the schedules that still have something running: a new execution waits for it.
    """
    rows = prepared.execute(LOCK, [list(schedule_ids)]).fetchall()
    running = [row[0] for row in rows if row[2]]
    waiting = [row[0] for row in rows if not row[2]]
    if waiting:
        prepared.execute(statements.END_UNSTARTED, [waiting, Outcome.CANCELLED.value])
    if running:
        prepared.execute(statements.ASK_TO_STOP, [running])
    return {row[1] for row in rows if row[2]}


def release(schedule_ids: Sequence[UUID | str]) -> dict[UUID, UUID]:
    """Let the oldest that waits go, of each of these schedules of which nothing else is active.

    In the caller's transaction. Answers {execution: schedule}; the next round queues them.
    """
    rows = prepared.execute(RELEASE, [[str(one) for one in schedule_ids]]).fetchall()
    return {row[0]: row[1] for row in rows}


def delay(due: Sequence[tuple[UUID, str]]) -> None:
    """Set when executions are due that are let go, where they may not start at once.

    When they are, they ask for room again.
    """
    prepared.execute(DELAY, [[one for one, _ in due], [at for _, at in due]])


def waited_for(*, after: str = "", most: int) -> list[str]:
    """The schedules for whose executions something waits, in the order of their ids."""
    rows = prepared.execute(WAITED_FOR, [held_by(after), most]).fetchall()
    return [row[0].removeprefix(HELD_BY) for row in rows]
