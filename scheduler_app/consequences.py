"""What follows from an ended execution: statistics of its schedule, closed error records.

The ledger below cannot call anybody above it; with every terminal outcome it leaves a row in
`outcome_inbox`, which is consumed here and deleted in the transaction that creates the effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from config.env import env
from errors_app import recovery
from executions_app.states import ExecutionStatus

TAKE: Final = """
DELETE FROM outcome_inbox WHERE id IN (
    SELECT id FROM outcome_inbox ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
)
RETURNING execution_id, schedule_id, status, coalesce(duration_ms, 0), completed_at
"""
COUNT: Final = """
WITH locked AS (
    SELECT id FROM task_schedules WHERE id = ANY(%s::uuid[]) ORDER BY id FOR UPDATE
)
UPDATE task_schedules s SET
    run_count = s.run_count + i.runs,
    success_count = s.success_count + i.successes,
    failure_count = s.failure_count + i.failures,
    consecutive_failures = CASE WHEN i.successes > 0 THEN 0 ELSE s.consecutive_failures END
        + i.failures_since_success,
    total_duration_ms = s.total_duration_ms + i.duration_ms,
    last_status = i.last_status,
    last_success_at = coalesce(i.last_success_at, s.last_success_at)
FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[], %s::int[], %s::bigint[],
            %s::text[], %s::timestamptz[])
    AS i(id, runs, successes, failures, failures_since_success, duration_ms, last_status,
         last_success_at)
JOIN locked USING (id)
WHERE s.id = i.id
"""


@dataclass(slots=True)
class _Tally:
    runs: int = 0
    successes: int = 0
    failures: int = 0
    failures_since_success: int = 0
    duration_ms: int = 0
    last_status: str = ""
    last_success_at: datetime | None = None

    def add(self, status: str, duration_ms: int, completed_at: datetime) -> None:
        self.runs += 1
        self.duration_ms += duration_ms
        self.last_status = status
        if status == ExecutionStatus.COMPLETED:
            self.successes += 1
            self.failures_since_success = 0
            self.last_success_at = completed_at
        elif status == ExecutionStatus.FAILED:
            self.failures += 1
            self.failures_since_success += 1


def draw(*, limit: int | None = None) -> int:
    """Consume up to `limit` terminal outcomes; answers how many there were."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(TAKE, [limit or env.scheduler_batch_size])
            outcomes = sorted(cursor.fetchall(), key=lambda row: row[4])
        if outcomes:
            recovery.settle({row[0]: row[2] for row in outcomes})
            _count(outcomes)
    return len(outcomes)


def _count(outcomes: Sequence[tuple[UUID, UUID | None, str, int, datetime]]) -> None:
    tallies: dict[UUID, _Tally] = {}
    for _, schedule_id, status, duration_ms, completed_at in outcomes:
        if schedule_id is not None:
            tallies.setdefault(schedule_id, _Tally()).add(status, duration_ms, completed_at)
    if not tallies:
        return
    rows = list(tallies.values())
    with connection.cursor() as cursor:
        cursor.execute(
            COUNT,
            [
                list(tallies),
                list(tallies),
                [one.runs for one in rows],
                [one.successes for one in rows],
                [one.failures for one in rows],
                [one.failures_since_success for one in rows],
                [one.duration_ms for one in rows],
                [one.last_status for one in rows],
                [one.last_success_at for one in rows],
            ],
        )
