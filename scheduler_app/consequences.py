"""What follows from an ended execution: statistics, closed error records, dependent schedules.

The ledger below cannot call anybody above it; with every terminal outcome it leaves a row in
`outcome_inbox`, which is consumed here and deleted in the transaction that creates the effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from agents_app.cycle import approving
from config.env import env
from errors_app import recovery
from errors_app.incidents import recovering
from errors_app.incidents.recovering import Success
from executions_app import prepared
from executions_app.states import ExecutionStatus
from scheduler_app import admission, schedules
from scheduler_app.prediction import predictions
from scheduler_app.sources import dependents
from scheduler_app.sources.dependents import Ended, Waiting

TAKE: Final = """
WITH taken AS MATERIALIZED (
    -- As an `IN (SELECT ... LIMIT)` it is run once per row by some plans and takes them all.
    SELECT id FROM outcome_inbox ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
)
DELETE FROM outcome_inbox WHERE id = ANY(ARRAY(SELECT id FROM taken))
RETURNING execution_id, schedule_id::text, status, duration_ms, completed_at,
    -- In the order of its index: no plan then reads all schedules to find that none is dependent.
    (SELECT id FROM task_schedules WHERE trigger_type = 'dependent' ORDER BY id LIMIT 1)
        IS NOT NULL,
    (SELECT id FROM incidents WHERE status IN ('open', 'acknowledged') AND recovers_at IS NULL
     ORDER BY schedule_id LIMIT 1) IS NOT NULL
"""
WITH_ERRORS: Final = """
SELECT DISTINCT execution_id FROM error_records WHERE execution_id = ANY(%s::uuid[])
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
WHERE s.id = i.id AND s.id = ANY(ARRAY(SELECT id FROM locked))
RETURNING s.id::text, s.task_type, s.enabled AND s.consecutive_failures >= s.pause_after_failures,
    s.overlap_policy NOT IN ('skip', 'allow')
"""


Outcome = tuple[UUID, str | None, str, int | None, datetime]


@dataclass(slots=True)
class _Tally:
    runs: int = 0
    successes: int = 0
    failures: int = 0
    failures_since_success: int = 0
    duration_ms: int = 0
    last_status: str = ""
    last_success_at: datetime | None = None

    def add(self, status: str, duration_ms: int | None, completed_at: datetime) -> None:
        self.runs += 1
        if status != ExecutionStatus.CANCELLED:  # those would make the mean of its work too short
            self.duration_ms += duration_ms or 0
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
    tallies: dict[str, _Tally] = {}
    task_types: dict[str, str] = {}
    with transaction.atomic():
        taken = prepared.execute(TAKE, [limit or env.scheduler_batch_size]).fetchall()
        outcomes: list[Outcome] = sorted((row[:5] for row in taken), key=lambda row: row[4])
        if outcomes:
            _withdraw(outcomes)
            _settle(outcomes)
            if taken[0][6]:
                recovering.note_successes(_successes(outcomes))
            tallies = _tallies(outcomes)
            waiting = dependents.lock(list(tallies)) if taken[0][5] else Waiting()
            task_types, freed = _count(tallies)
            _start_and_let_go(waiting, outcomes, freed=freed)
    for schedule_id, task_type in task_types.items():
        tally = tallies[schedule_id]
        if ended := tally.successes + tally.failures:
            predictions.learn(task_type, mean_ms=tally.duration_ms / ended, runs=ended)
    return len(outcomes)


def _ended(outcomes: Sequence[Outcome]) -> list[Ended]:
    return [
        Ended(execution_id, schedule_id, status, completed_at)
        for execution_id, schedule_id, status, _, completed_at in outcomes
        if schedule_id is not None
    ]


def _withdraw(outcomes: Sequence[Outcome]) -> None:
    """Nobody is asked any more about the plan of what has ended otherwise."""
    ended_badly = [row[0] for row in outcomes if row[2] != ExecutionStatus.COMPLETED]
    if ended_badly:
        approving.withdraw(ended_badly)


def _settle(outcomes: Sequence[Outcome]) -> None:
    """Close the error records of those that have any: few, and only they cost something."""
    with_errors = prepared.execute(WITH_ERRORS, [[row[0] for row in outcomes]]).fetchall()
    if with_errors:
        status_of = {row[0]: row[2] for row in outcomes}
        recovery.settle({row[0]: status_of[row[0]] for row in with_errors})


def _successes(outcomes: Sequence[Outcome]) -> list[Success]:
    """Of each schedule the completed execution that began last."""
    newest: dict[str, Success] = {}
    for _, schedule_id, status, duration_ms, completed_at in outcomes:
        if schedule_id is not None and status == ExecutionStatus.COMPLETED:
            began_at = completed_at - timedelta(milliseconds=duration_ms or 0)
            known = newest.get(schedule_id)
            if known is None or known.began_at < began_at:
                newest[schedule_id] = Success(schedule_id, began_at, completed_at)
    return list(newest.values())


def _tallies(outcomes: Sequence[Outcome]) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = {}
    for _, schedule_id, status, duration_ms, completed_at in outcomes:
        if schedule_id is not None:
            tallies.setdefault(schedule_id, _Tally()).add(status, duration_ms, completed_at)
    return tallies


def _start_and_let_go(
    waiting: Waiting, outcomes: Sequence[Outcome], *, freed: Sequence[str]
) -> None:
    """Start the dependents, and let go what waited for executions of the `freed` schedules.

    Dependents ask for keys of unique work, and whoever has such a key may go on to lock what
    waits: the key comes first, here too. Only a dependent's own are let go before it starts, or it
    would find a place taken that is free.
    """
    starting = {str(one.id) for one in waiting.schedules}
    if first := [one for one in freed if one in starting]:
        admission.let_go(first)
    if waiting.schedules:
        dependents.start(waiting, _ended(outcomes))
    if then := [one for one in freed if one not in starting]:
        admission.let_go(then)


def _count(tallies: Mapping[str, _Tally]) -> tuple[dict[str, str], list[str]]:
    """Add the tallies to their schedules; answers the task type of each that still exists.

    The second answer are those of which something may wait for what has ended. One that has failed
    as often in a row as it may is paused.
    """
    if not tallies:
        return {}, []
    rows = list(tallies.values())
    ids = list(tallies)
    columns: list[list[Any]] = [
        [one.runs for one in rows],
        [one.successes for one in rows],
        [one.failures for one in rows],
        [one.failures_since_success for one in rows],
        [one.duration_ms for one in rows],
        [one.last_status for one in rows],
        [one.last_success_at for one in rows],
    ]
    counted = prepared.execute(COUNT, [ids, ids, *columns]).fetchall()
    if failing := [schedule_id for schedule_id, _, is_failing, _ in counted if is_failing]:
        schedules.pause_failing(failing)
    freed = [schedule_id for schedule_id, _, _, may_wait in counted if may_wait]
    return {schedule_id: task_type for schedule_id, task_type, _, _ in counted}, freed
