"""How long what happened is kept: ended executions and their history go 90 days after the end.

A month goes as a whole, by dropping its partitions, once every row in it may go. Where some must
stay (live, ended lately, or given up and not yet handled), the others go in batches of bounded
size. Executions go first; their steps, events, errors and fires follow them. Every step is a
transaction of its own that finds its work by looking, so a run that died anywhere is finished by
the next one, and several runs at once do no more than one. The audit log is kept for good.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import OperationalError, connection, transaction
from psycopg import sql

from executions_app import audit, ids, partitions
from executions_app.database_errors import sqlstate
from executions_app.partitions import Partition

KEPT: Final = timedelta(days=90)
SESSIONS_KEPT: Final = timedelta(days=30)  # after their close
HOURS_KEPT: Final = timedelta(days=31)  # of the trend of an incident
BREAKERS_KEPT: Final = timedelta(days=30)  # transitions, and endpoints that nobody calls any more
DELIVERIES_KEPT: Final = timedelta(days=30)  # a webhook that is sent again later starts anew
REQUESTS_KEPT: Final = timedelta(hours=24)  # the memory of Idempotency-Key and of unique keys
RESERVATIONS_KEPT: Final = timedelta(days=32)  # of tokens; budgets are by day
PROCESSES_KEPT: Final = timedelta(days=1)  # after they ended or fell silent
BATCH_ROWS: Final = 5_000
MOST_ROWS: Final = 500_000  # deleted in one run; the next one goes on
LOCK_WAIT: Final = "200ms"  # for a table; whoever comes to it meanwhile waits as long
LOOK_TIME: Final = "10min"  # at a whole month, which makes nobody wait
LOCK_KEY: Final = 0x43414447  # one run at a time
LOCK_NOT_AVAILABLE: Final = "55P03"
SLACK: Final = timedelta(minutes=1)  # no execution is recorded that much later than its history
EARLIEST: Final = UUID(int=0)

logger = logging.getLogger(__name__)

# What ended and stands in no open dead letter never moves again, so what may go stays so.
ENDED: Final = """
    {row}.completed_at < %(ended_before)s
    AND ({row}.dead_letter_at IS NULL OR {row}.discarded_at IS NOT NULL)
"""
EXECUTION_MAY_GO: Final = ENDED.format(row="r")
EXECUTION_IS_GONE: Final = "NOT EXISTS (SELECT FROM task_executions e WHERE e.id = r.execution_id)"
KEY_IS_FREE: Final = """coalesce(r.until, r.created_at) < %(ended_before)s AND NOT EXISTS (
    SELECT FROM task_executions e WHERE e.id = r.execution_id AND e.completed_at IS NULL
)"""
NOTICE_MAY_GO: Final = """
    r.status <> 'pending' AND NOT EXISTS (SELECT FROM alerts a WHERE a.id = r.alert_id)
"""
# A fact that a person told stays until somebody takes it back, or its schedule is gone.
MEMORY_MAY_GO: Final = """(
    r.kind <> 'fact' OR r.author = '' OR (r.schedule_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM task_schedules s WHERE s.id = r.schedule_id
    ))
)"""
MUST_STAY: Final = "SELECT EXISTS (SELECT FROM {rows} r WHERE ({may_go}) IS NOT TRUE)"
# Asked from the few executions of that time that are left, not from each row of their history.
IS_OF_AN_EXECUTION: Final = """
SELECT EXISTS (
    SELECT FROM task_executions e
    WHERE e.id < %(newest)s AND EXISTS (SELECT FROM {rows} r WHERE r.execution_id = e.id)
)
"""
NEWEST: Final = "SELECT id FROM {rows} ORDER BY id DESC LIMIT 1"
DELETE_PAGE: Final = """
WITH page AS MATERIALIZED (
    SELECT id FROM {rows} WHERE id > %(after)s AND id < %(made_before)s ORDER BY id LIMIT %(size)s
), gone AS (
    DELETE FROM {rows} r USING page WHERE r.id = page.id AND {may_go} RETURNING r.id
)
SELECT (SELECT id FROM page ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM gone)
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which rows of a table may go: those made `kept` ago of which `may_go` is true."""

    rows: str
    kept: timedelta
    may_go: str
    is_audited: bool = True


OTHERS: Final = (
    Rule("dead_letters", KEPT, f"r.handled_at < %(ended_before)s AND {EXECUTION_IS_GONE}"),
    Rule("incidents", KEPT, "r.last_seen_at < %(ended_before)s AND r.status <> 'acknowledged'"),
    Rule("incident_buckets", HOURS_KEPT, "r.hour < %(ended_before)s", is_audited=False),
    Rule("cycles", KEPT, EXECUTION_IS_GONE),
    Rule("plan_approvals", KEPT, EXECUTION_IS_GONE),
    Rule("schedule_decisions", KEPT, "r.status <> 'proposed'"),
    Rule("agent_memories", KEPT, MEMORY_MAY_GO, is_audited=False),
    Rule("token_reservations", RESERVATIONS_KEPT, "true", is_audited=False),
    Rule("websocket_sessions", SESSIONS_KEPT, "r.closed_at < %(ended_before)s"),
    Rule("idempotency_keys", REQUESTS_KEPT, "true", is_audited=False),
    Rule("unique_works", REQUESTS_KEPT, KEY_IS_FREE, is_audited=False),
    Rule("webhook_deliveries", DELIVERIES_KEPT, "true", is_audited=False),
    Rule("breaker_transitions", BREAKERS_KEPT, "true", is_audited=False),
    Rule("breakers", BREAKERS_KEPT, "r.seen_at < %(ended_before)s", is_audited=False),
    Rule("bulk_operations", KEPT, "r.ended_at < %(ended_before)s"),
    Rule("processes", PROCESSES_KEPT, "r.seen_at < %(ended_before)s", is_audited=False),
    Rule("alerts", KEPT, "r.resolved_at < %(ended_before)s"),
    Rule("alert_deliveries", KEPT, NOTICE_MAY_GO),
)


@dataclass(slots=True)
class Cleared:
    """What one run let go: whole partitions, and numbers of rows by table or partition."""

    dropped: list[str] = field(default_factory=list)
    in_use: list[str] = field(default_factory=list)
    """Partitions that may go and could not be had just now."""
    rows: dict[str, int] = field(default_factory=dict)
    is_finished: bool = True
    """False if there was more than one run may do, or another run was at it."""


class AnotherRun(Exception):
    """Another run is at it."""


def apply(now: datetime, *, most_rows: int = MOST_ROWS) -> Cleared:
    """Let go what is past its time; deletes at most about `most_rows`, the next run goes on."""
    cleared = Cleared()
    try:
        for partition in past(now):
            if may_go(partition, now=now):
                _drop(partition, cleared, now=now)
            else:
                _delete(_rule_of(partition), cleared, now=now, most_rows=most_rows)
        for rule in OTHERS:
            _delete(rule, cleared, now=now, most_rows=most_rows)
    except AnotherRun:
        cleared.is_finished = False
    return cleared


def past(now: datetime) -> Iterator[Partition]:
    """The months in which rows may go; executions first, then what belongs to them."""
    for table in partitions.TABLES:
        yield from partitions.ended(table, before=now - KEPT)


def may_go(partition: Partition, *, now: datetime) -> bool:
    """True if no row of the month must stay; of history: if its executions have gone."""
    with transaction.atomic():
        _set("statement_timeout", LOOK_TIME)
        if partition.table is partitions.EXECUTIONS:
            return not _one(MUST_STAY, _rule_of(partition), now=now)
        newest = _one(NEWEST, _rule_of(partition), now=now)
        if newest is None:
            return True
        if newest >= ids.floor(now - KEPT):
            return False
        until = ids.floor(ids.instant(newest) + SLACK)
        return not _one(IS_OF_AN_EXECUTION, _rule_of(partition), now=now, newest=until)


def _rule_of(partition: Partition) -> Rule:
    is_executions = partition.table is partitions.EXECUTIONS
    return Rule(partition.name, KEPT, EXECUTION_MAY_GO if is_executions else EXECUTION_IS_GONE)


def _drop(partition: Partition, cleared: Cleared, *, now: datetime) -> None:
    try:
        with transaction.atomic():
            _be_alone()
            _set("lock_timeout", LOCK_WAIT)
            partitions.hold()
            newest = _one(NEWEST, _rule_of(partition), now=now)
            if newest is not None and newest >= ids.floor(now - KEPT):
                return  # a fire of that month was recorded after the look
            partitions.drop(partition)
            audit.record(
                audit.SYSTEM,
                "partition.dropped",
                object_type="partition",
                object_id=partition.name,
                now=now,
            )
    except OperationalError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        logger.info("Partition %s may go and is in use; the next run tries again", partition.name)
        cleared.in_use.append(partition.name)
        return
    logger.info("Partition %s was past its time and is dropped", partition.name)
    cleared.dropped.append(partition.name)


def _delete(rule: Rule, cleared: Cleared, *, now: datetime, most_rows: int) -> None:
    after: UUID | None = EARLIEST
    while after is not None:
        if sum(cleared.rows.values()) >= most_rows:
            cleared.is_finished = False
            return
        after, number = _delete_page(rule, after, now=now)
        if number:
            cleared.rows[rule.rows] = cleared.rows.get(rule.rows, 0) + number


def _delete_page(rule: Rule, after: UUID, *, now: datetime) -> tuple[UUID | None, int]:
    """Look at the next rows in order of id; answers the last one seen and how many went."""
    with transaction.atomic():
        _be_alone()
        last, number = _row(DELETE_PAGE, rule, now=now, after=after, size=BATCH_ROWS)
        if number and rule.is_audited:
            audit.record(
                audit.SYSTEM,
                "rows.expired",
                object_type="table",
                object_id=rule.rows,
                now=now,
                after={"number": number},
            )
    return last, number


def _be_alone() -> None:
    """Until the transaction ends; raises AnotherRun."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK_KEY])
        if not cursor.fetchone()[0]:
            raise AnotherRun


def _set(setting: str, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [setting, value])


def _one(statement: str, rule: Rule, *, now: datetime, **more: Any) -> Any:
    row = _row(statement, rule, now=now, **more)
    return row[0] if row else None


def _row(statement: str, rule: Rule, *, now: datetime, **more: Any) -> Any:
    edge = now - rule.kept
    values: Mapping[str, Any] = {"ended_before": edge, "made_before": ids.floor(edge), **more}
    composed = sql.SQL(statement).format(
        rows=sql.Identifier(rule.rows), may_go=sql.SQL(rule.may_go)
    )
    with connection.cursor() as cursor:
        cursor.execute(composed, values)
        return cursor.fetchone()
