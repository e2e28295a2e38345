"""Held back for want of room and admitted when there is some: the SQL of work under limits.

`holds` of the floor above decides, with what it locks and counts through here. What is held is
`pending` with `held_by` and stands in no due index; it is found again by key, never row by row.
What a transaction has locked as pending it changes by id alone: a state beside the id would let
an index of that state be read instead (`statements` says more of that).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Final, NamedTuple
from uuid import UUID

from executions_app import prepared
from executions_app.events import insert_select
from executions_app.outbox import ALONE, Message

COLUMNS: Final = f"""e.id, e.queue, e.priority, e.attempt, e.limit_key, e.schedule_id::text,
    e.snapshot->>'task_type' AS task_type, e.snapshot->'task_config'->>'agent' AS agent,
    e.travels_alone OR {ALONE.format(config="e.snapshot->'task_config'")}, e.held_by, e.due_at,
    now() AS now"""
MAY_BE_TRIED: Final = "(e.attempt = 0 OR (SELECT error_recovery_running FROM system_state))"
NAMED: Final = "'status', status, 'number', number, 'name', snapshot->>'name'"
ADMITTED: Final = f"""
admitted AS (
    UPDATE task_executions e SET status = 'queued', held_by = '', queued_at = now(),
        published_at = now(), publish_count = 1, updated_at = now()
    WHERE e.id = ANY({{chosen}})
    RETURNING e.*
), told AS ({
    insert_select(
        type_="'execution:queued'",
        source="admitted",
        data=f"{NAMED}, 'attempt', attempt",
    )
})"""  # noqa: S608  composed of constants of this package only, like all that follow
RELEASE: Final = f"""
WITH due AS (
    SELECT {COLUMNS}, (
        %s::bool OR e.queue = ANY(%s::text[]) OR e.snapshot->>'task_type' = ANY(%s::text[])
        OR (%s::bool AND e.limit_key <> '') OR {{has_own_limit}}
    ) AS is_limited
    FROM task_executions e
    WHERE e.status = 'pending' AND e.held_by = '' AND e.due_at <= now() AND ({{condition}})
        AND {MAY_BE_TRIED}
    ORDER BY e.due_at LIMIT %s FOR UPDATE SKIP LOCKED
), {ADMITTED.format(chosen="ARRAY(SELECT id FROM due WHERE NOT is_limited)")}
SELECT * FROM due
"""  # noqa: S608
ADMIT: Final = f"WITH {ADMITTED.format(chosen='%s::uuid[]')} SELECT id FROM admitted"  # noqa: S608
HOLD: Final = f"""
WITH held AS (
    UPDATE task_executions e SET held_by = i.held_by, updated_at = now()
    FROM unnest(%s::uuid[], %s::text[]) AS i(id, held_by)
    WHERE e.id = i.id
    RETURNING e.*
), told AS ({
    insert_select(
        type_="'execution:held'",
        source="held",
        data=f"{NAMED}, 'held_by', held_by",
    )
})
SELECT id FROM held
"""  # noqa: S608
GROUP: Final = "held_by, priority, limit_key"
IN_ORDER: Final = "held_by USING ~<~, priority USING ~<~, limit_key USING ~<~, due_at"
# A loose scan: one probe of the index for each group, however many wait in it.
LINES: Final = f"""
WITH RECURSIVE line AS (
    (SELECT {GROUP}, due_at FROM task_executions
     WHERE status = 'pending' AND held_by <> '' AND ({GROUP}) ~>~ (%s, %s, %s)
        AND held_by ~<~ %s
     ORDER BY {IN_ORDER} LIMIT 1)
    UNION ALL
    SELECT following.* FROM line CROSS JOIN LATERAL (
        SELECT {GROUP}, due_at FROM task_executions
        WHERE status = 'pending' AND held_by <> ''
            AND ({GROUP}) ~>~ (line.held_by, line.priority, line.limit_key) AND held_by ~<~ %s
        ORDER BY {IN_ORDER} LIMIT 1
    ) AS following
)
SELECT {GROUP}, due_at, now() FROM line LIMIT %s
"""  # noqa: S608
TAKE: Final = f"""
SELECT taken.* FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
    AS line(held_by, priority, limit_key, most)
CROSS JOIN LATERAL (
    SELECT {COLUMNS}, true FROM task_executions e
    WHERE e.status = 'pending' AND e.held_by <> '' AND e.held_by = line.held_by
        AND e.priority = line.priority AND e.limit_key = line.limit_key AND {MAY_BE_TRIED}
    ORDER BY e.due_at LIMIT line.most FOR UPDATE SKIP LOCKED
) AS taken
"""  # noqa: S608
ACTIVE: Final = """
SELECT k.key, (
    SELECT count(*) FROM ({rows}) AS active
) FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS k(key, value, most)
"""
BY_INDEX: Final = """
    SELECT FROM task_executions e
    WHERE e.status IN ('queued', 'running') AND {which} LIMIT k.most
"""
BY_STATUS: Final = """
    SELECT FROM (
        SELECT FROM task_executions e WHERE e.status = 'queued' AND {which}
        UNION ALL SELECT FROM task_executions e WHERE e.status = 'running' AND {which}
    ) AS either LIMIT k.most
"""
COUNTED: Final[Mapping[str, str]] = {
    kind: ACTIVE.format(rows=rows.format(which=which))
    for kind, rows, which in (
        ("key", BY_INDEX, "e.limit_key = k.value AND e.limit_key <> ''"),
        ("schedule", BY_INDEX, "e.schedule_id = k.value::uuid"),
        ("queue", BY_STATUS, "e.queue = k.value"),
        ("task", BY_STATUS, "e.snapshot->>'task_type' = k.value"),
        (
            "agent",
            BY_STATUS,
            "e.snapshot->>'task_type' = 'agent' AND e.snapshot->'task_config'->>'agent' = k.value",
        ),
        ("system", BY_STATUS, "true"),
    )
}
WAITED_FOR: Final = """
SELECT place FROM unnest(%s::text[]) AS place WHERE EXISTS (
    SELECT FROM task_executions WHERE status = 'pending' AND held_by <> '' AND held_by = place
)
"""
BY_THE_INDEX: Final = """
SELECT set_config(one, 'off', true)
FROM unnest('{enable_seqscan,enable_bitmapscan,enable_sort}'::text[]) AS one
"""
LOCK: Final = "SELECT count(pg_advisory_xact_lock(%s::int, n)) FROM unnest(%s::int[]) AS n"


class Line(NamedTuple):
    """Executions that wait for the same room with the same priority and key; the oldest is due."""

    held_by: str
    priority: str
    limit_key: str
    due_at: datetime
    now: datetime


class Candidate(NamedTuple):
    """A due execution, locked by this transaction, as a decision about it needs it."""

    id: UUID
    queue: str
    priority: str
    attempt: int
    limit_key: str
    schedule_id: str | None
    task_type: str
    agent: str | None
    travels_alone: bool
    held_by: str
    due_at: datetime
    now: datetime
    is_limited: bool

    def message(self) -> Message:
        """Its message; what was tried before shares none with others."""
        is_alone = self.attempt > 0 or self.travels_alone
        return Message(self.id, self.queue, task_type="" if is_alone else self.task_type)


class Limited(NamedTuple):
    """Which executions are under a limit: all, or those of these queues and types, or with a key.

    `own` is SQL that says of the execution `e` whether its schedule has a limit of its own.
    """

    are_all: bool
    queues: Sequence[str]
    task_types: Sequence[str]
    are_keyed: bool
    own: str


def release(limited: Limited, *, limit: int, ids: Sequence[UUID] | None = None) -> list[Candidate]:
    """Queue what is due and under no limit; answers that and, unmoved, what is under one."""
    values = [limited.are_all, list(limited.queues), list(limited.task_types), limited.are_keyed]
    these = [] if ids is None else [list(ids)]
    condition = "true" if ids is None else "e.id = ANY(%s::uuid[])"
    statement = _release_statement(limited.own, condition)
    return _read(prepared.execute(statement, [*values, *these, limit]).fetchall())


def go_by_the_index() -> None:
    """Until the transaction ends, whatever has an order is read in it, from its index.

    Where the statistics know little (a new table, or one that has just grown), to fetch all of a
    line and to sort it seems as cheap as to fetch its first rows; and what is prepared keeps the
    plan that was made then.
    """
    prepared.execute(BY_THE_INDEX)


def lines(prefix: str, *, most: int, after: tuple[str, str, str] | None = None) -> list[Line]:
    """The lines whose `held_by` begins with `prefix:`, in the order of the index."""
    first = after or (f"{prefix}:", "", "")
    end = f"{prefix};"  # the character after the colon
    rows = prepared.execute(LINES, [*first, end, end, most]).fetchall()
    return [Line(*row) for row in rows]


def take(wanted: Sequence[tuple[Line, int]]) -> list[Candidate]:
    """Lock up to so many of the oldest executions of each line that nobody else has locked."""
    columns = [
        [line.held_by for line, _ in wanted],
        [line.priority for line, _ in wanted],
        [line.limit_key for line, _ in wanted],
        [most for _, most in wanted],
    ]
    return _read(prepared.execute(TAKE, columns).fetchall())


def active(kind: str, keys: Mapping[str, tuple[str, int]]) -> dict[str, int]:
    """How many are queued or running of each key: {key: (value, count no further than this)}."""
    values = [value for value, _ in keys.values()]
    most = [most for _, most in keys.values()]
    return dict(prepared.execute(COUNTED[kind], [list(keys), values, most]).fetchall())


def waited_for(places: Sequence[str]) -> set[str]:
    """Those of these values of `held_by` for which anything waits."""
    return {row[0] for row in prepared.execute(WAITED_FOR, [list(places)]).fetchall()}


def lock(space: int, numbers: Sequence[int]) -> None:
    """Take these advisory locks until the transaction ends, in their order: sort them."""
    prepared.execute(LOCK, [space, list(numbers)])


def admit(ids: Sequence[UUID]) -> None:
    """Queue executions that this transaction has locked, marked as sent."""
    prepared.execute(ADMIT, [list(ids)])


def hold(held: Mapping[UUID, str]) -> None:
    """Keep locked executions back, by what they wait for."""
    prepared.execute(HOLD, [list(held), list(held.values())])


def _read(rows: Sequence[tuple[object, ...]]) -> list[Candidate]:
    return [Candidate._make(row) for row in rows]


@cache
def _release_statement(own: str, condition: str) -> str:
    return RELEASE.format(has_own_limit=own, condition=condition)
