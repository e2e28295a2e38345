"""Which schedules are due: taken under lock, with what the decision about them needs.

A row is read as plain text and numbers, because a batch is hundreds of rows and a model instance
of each would cost more than everything that is done with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final, NamedTuple
from uuid import UUID

from executions_app import overlaps, prepared
from executions_app.outbox import ALONE
from executions_app.states import Priority
from scheduler_app import conditions
from scheduler_app.policies import OverlapPolicy

COLUMNS: Final = f"""
    t.id::text, t.next_run_at::text, t.schedule_type, t.schedule_config::text,
    CASE WHEN t.schedule_type = 'interval' THEN t.anchor_at::text END, t.timezone,
    t.overlap_policy, t.catchup_policy, t.catchup_limit, t.catchup_window_ms,
    t.retry_policy::text, {conditions.COLUMN}, t.owner_id, t.name, t.priority, t.task_type,
    CASE WHEN t.success_count + t.failure_count >= 5
        THEN t.total_duration_ms / (t.success_count + t.failure_count)::float8 END,
    {ALONE.format(config="t.task_config")}, now()::text
"""
# One range of one index per priority, in order: the cost of a batch is the batch, however many are
# due. A LATERAL can only be joined as a nested loop, which keeps the order of the priorities.
DUE: Final = f"""
SELECT due.* FROM unnest(ARRAY[{", ".join(f"'{one}'" for one in Priority)}]) AS p(priority)
CROSS JOIN LATERAL (
    SELECT {COLUMNS} FROM task_schedules t
    WHERE t.priority = p.priority AND t.enabled
        AND t.next_run_at <= now() + interval '1 second' * {{ahead}}
        AND (t.is_plain OR t.next_run_at <= now())
    ORDER BY t.next_run_at LIMIT {{limit}} FOR UPDATE SKIP LOCKED
) AS due LIMIT {{limit}}
"""  # noqa: S608  composed of constants of this module only
ONE_DUE: Final = f"""
SELECT {COLUMNS} FROM task_schedules t
WHERE t.id = %s AND t.enabled AND t.next_run_at <= now() FOR UPDATE SKIP LOCKED
"""  # noqa: S608
IS_DUE: Final = """
SELECT EXISTS (
    SELECT FROM task_schedules WHERE id = %s AND enabled AND next_run_at <= now()
) AND (SELECT scheduler_running FROM system_state)
"""
# Asked only once the rows are locked: a snapshot of before would miss what another beat created.
BUSY: Final = f"""
SELECT DISTINCT e.schedule_id::text FROM task_executions e
WHERE e.schedule_id = ANY(%s::uuid[]) AND {overlaps.NOT_ENDED}
"""  # noqa: S608


class Due(NamedTuple):
    """A schedule whose time has come, as its row has it.

    `run_ms` is the mean duration of its executions, None before there were enough of them;
    `conditions` is what else it says, None of a plain one.
    """

    id: str
    next_run_at: str
    schedule_type: str
    schedule_config: str
    anchor_at: str | None
    timezone: str
    overlap_policy: str
    catchup_policy: str
    catchup_limit: int
    catchup_window_ms: int | None
    retry_policy: str
    conditions: str | None
    owner_id: int
    name: str
    priority: str
    task_type: str
    run_ms: float | None
    travels_alone: bool
    now: str

    @property
    def decisive(self) -> tuple[object, ...]:
        """All that decides what becomes of its fires, from `next_run_at` to `conditions`."""
        return self[1:12]

    @property
    def asks_only_whether_busy(self) -> bool:
        """True if all that counts is whether any execution of it has not ended."""
        return self.conditions is None and self.overlap_policy == OverlapPolicy.SKIP

    @property
    def asks_what_is_active(self) -> bool:
        """True if it counts how many executions of it have not ended, and how many wait."""
        return self.conditions is not None and self.overlap_policy != OverlapPolicy.ALLOW

    @property
    def is_early(self) -> bool:
        """True if its instant is still to come."""
        return instant(self.next_run_at) > instant(self.now)


def take(*, limit: int, ahead_seconds: float = 0.0) -> list[Due]:
    """Lock up to `limit` due schedules that nobody else has locked, by priority, then time.

    With `ahead_seconds` also plain ones that come due within that time: of the others more has
    to be known at their instant.
    """
    return _read(prepared.execute(_statement(limit, ahead_seconds)).fetchall())


def take_one(schedule_id: UUID) -> list[Due]:
    """Lock this schedule if it is due and nobody else has locked it."""
    return _read(prepared.execute(ONE_DUE, [schedule_id]).fetchall())


def is_due_and_running(schedule_id: UUID) -> bool:
    """True if this schedule is due and the system dispatches."""
    row = prepared.execute(IS_DUE, [schedule_id]).fetchone()
    return bool(row and row[0])


def busy(schedule_ids: Sequence[str]) -> set[str]:
    """Those of the locked schedules that have an execution which has not ended."""
    if not schedule_ids:
        return set()
    rows = prepared.execute(BUSY, [prepared.array_of_words(schedule_ids)]).fetchall()
    return {row[0] for row in rows}


def instant(text: str) -> datetime:
    """The instant that PostgreSQL wrote as text, in UTC."""
    return datetime.fromisoformat(text)


def _read(rows: Sequence[tuple[object, ...]]) -> list[Due]:
    return [Due._make(row) for row in rows]


@cache
def _statement(limit: int, ahead_seconds: float) -> str:
    # As a parameter the limit would be unknown when the statement is planned, once and for all.
    return DUE.format(limit=limit, ahead=ahead_seconds)
