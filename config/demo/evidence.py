"""Outside an execution's life: what the tables say, read in plain SQL and in one snapshot.

Knows column names and nothing else of the product, so that a mistake in its models cannot hide
behind itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from config.demo import ledger
from config.demo.ledger import Call

Row = TypeVar("Row")

TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})

SCHEDULES: Final = """
SELECT id, name, trigger_type, schedule_type, schedule_config, timezone, priority, enabled,
    anchor_at, next_run_at, version
FROM task_schedules ORDER BY created_at, id
"""
FIRES: Final = """
SELECT schedule_id, nominal_at, nominal_until, count, reason, execution_id
FROM fire_records WHERE cause = '' ORDER BY nominal_at
"""
EXECUTIONS: Final = """
SELECT id, number, schedule_id, trigger, snapshot->>'task_type' AS task_type,
    snapshot->'task_config'->>'url' AS url, nominal_at, due_at, created_at, started_at,
    completed_at, status, attempt, dead_letter_at
FROM task_executions ORDER BY id
"""
ERRORS: Final = """
SELECT execution_id, schedule_id, attempt, error_class, message, recovery_status, started_at
FROM error_records WHERE attempt > 0 OR execution_id IS NULL ORDER BY attempt, id
"""
CYCLES: Final = """
SELECT c.execution_id, c.tier, e.outcome
FROM cycles c JOIN task_executions e ON e.id = c.execution_id ORDER BY c.id
"""
STEPS: Final = """
SELECT id, execution_id, name, status, config->'endpoint'->>'url' AS url
FROM execution_steps ORDER BY execution_id, position
"""
ENDED: Final = """
SELECT s.name, e.status, count(*)
FROM task_schedules s JOIN task_executions e ON e.schedule_id = s.id
WHERE e.completed_at IS NOT NULL GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A row of task_schedules."""

    id: UUID
    name: str
    trigger_type: str
    schedule_type: str
    schedule_config: dict[str, Any]
    timezone: str
    priority: str
    enabled: bool
    anchor_at: datetime
    next_run_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class Fire:
    """A row of fire_records; a summary of `count` fires has `nominal_until`."""

    schedule_id: UUID
    nominal_at: datetime
    nominal_until: datetime | None
    count: int
    reason: str
    execution_id: UUID | None


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of task_executions."""

    id: UUID
    number: int
    schedule_id: UUID | None
    trigger: str
    task_type: str
    url: str | None
    nominal_at: datetime | None
    due_at: datetime
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    status: str
    attempt: int
    dead_letter_at: datetime | None

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Error:
    """A failed attempt; without an execution it tells of a schedule or the system."""

    execution_id: UUID | None
    schedule_id: UUID | None
    attempt: int
    error_class: str
    message: str
    recovery_status: str
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class Cycle:
    """A row of cycles, with the outcome of its execution."""

    execution_id: UUID
    tier: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Step:
    """A row of execution_steps; `url`: of the endpoint as it was when the plan was made."""

    id: UUID
    execution_id: UUID
    name: str
    status: str
    url: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The tables at `read_at`, the calls known by then or later, and the instant to be judged.

    `listening_since`: when the endpoints first took calls; None if they do not say.
    """

    judged_at: datetime
    read_at: datetime
    schedules: Sequence[Schedule]
    fires: Sequence[Fire]
    executions: Sequence[Execution]
    errors: Sequence[Error]
    dead_letters: frozenset[UUID]
    calls: Sequence[Call]
    cycles: Sequence[Cycle] = ()
    steps: Sequence[Step] = ()
    listening_since: datetime | None = None


def collect(dsn: str, ledger_path: Path, *, judged_at: datetime | None = None) -> Evidence:
    """Read everything to be judged; without `judged_at` the instant of the snapshot is judged.

    The calls are read after the tables: a call that the tables know must be among them.
    """
    listening = ledger.listening_since(ledger_path)
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        read_at = _instant(connection)
        return Evidence(
            judged_at=judged_at or read_at,
            read_at=read_at,
            schedules=_rows(connection, Schedule, SCHEDULES),
            fires=_rows(connection, Fire, FIRES),
            executions=_rows(connection, Execution, EXECUTIONS),
            errors=_rows(connection, Error, ERRORS),
            dead_letters=frozenset(
                row[0] for row in connection.execute("SELECT execution_id FROM dead_letters")
            ),
            cycles=_rows(connection, Cycle, CYCLES),
            steps=_rows(connection, Step, STEPS),
            calls=ledger.read(ledger_path),
            listening_since=None if listening is None else datetime.fromtimestamp(listening, UTC),
        )


def _instant(connection: psycopg.Connection[Any]) -> datetime:
    row = connection.execute("SELECT now()").fetchone()
    assert row is not None
    instant: datetime = row[0]
    return instant


def _rows(
    connection: psycopg.Connection[Any], row_type: type[Row], query: LiteralString
) -> list[Row]:
    with connection.cursor(row_factory=class_row(row_type)) as cursor:
        return cursor.execute(query).fetchall()


def ended(dsn: str) -> dict[str, Counter[str]]:
    """How many executions of each schedule (by name) have ended in each terminal status."""
    counts: dict[str, Counter[str]] = {}
    with psycopg.connect(dsn) as connection:
        for name, status, count in connection.execute(ENDED):
            counts.setdefault(name, Counter())[status] = count
    return counts
