"""A database as it is after months of use: schedules, executions and their history by the million.

Rows are made by PostgreSQL itself, in the order of their ids, with all indexes in place. What is
due, queued or running is little beside what has ended, as in life. What is not due or overdue at
the start does not become so within an hour, so that every test finds the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import connection, transaction

from executions_app import clock, partitions

OWNERS: Final = 20
DAYS: Final = 90  # of history
UNFOLDED: Final = "interval '1 day'"  # errors so young are in no incident yet
# Rows of record for each hundred executions.
EVENTS, FIRES, ERRORS, LETTERS, AUDIT = 30, 30, 10, 1, 5

# A UUIDv7 of the instant `at` and the number `n`; the database's own function takes 10 us.
ROW_ID: Final = """(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0')
    || '7' || lpad(to_hex({n} %% 4096), 3, '0') || '8' || lpad(to_hex({n}), 15, '0'))::uuid"""
SCHEDULE_ID: Final = "('01900000-0000-7000-8000-' || lpad(to_hex({}), 12, '0'))::uuid"
AT: Final = "(%(now)s::timestamptz - interval '1 day' * {days} * (%(rows)s - n) / %(rows)s)"

SCHEDULES: Final = f"""
INSERT INTO task_schedules (
    id, owner_id, name, trigger_type, schedule_type, schedule_config, timezone, task_type,
    task_config, priority, enabled, pause_reason, timeout_ms, overlap_policy, catchup_policy,
    catchup_limit, retry_policy, anchor_at, next_run_at, last_status, run_count, success_count,
    failure_count, consecutive_failures, total_duration_ms, missed_count, version)
SELECT {SCHEDULE_ID.format("n")}, %(first_owner)s + n %% {OWNERS}, 'schedule ' || n, 'time_based',
    'interval', '{{"interval_ms": 3600000}}', 'UTC', 'http_request',
    jsonb_build_object('url', 'https://example.org/' || n),
    (ARRAY['normal', 'normal', 'high', 'low', 'critical'])[1 + n %% 5], n %% 50 > 0, '', 300000,
    'skip', 'latest', 1, '{{"max_retries": 3}}', %(now)s,
    CASE WHEN n %% 50 = 0 THEN NULL WHEN n %% 1000 = 1 THEN %(now)s - interval '5 seconds'
         ELSE %(now)s + interval '1 hour' + interval '1 ms' * (n * 7919::bigint %% 86400000) END,
    'completed', 7, 7, 0, 0, 700, 0, 1
FROM generate_series(1, %(rows)s) AS n
"""
EXECUTIONS: Final = f"""
INSERT INTO task_executions (
    id, schedule_id, snapshot, owner_id, trigger, parameters, nominal_at, due_at, status, outcome,
    priority, queue, attempt, max_attempts, lease_token, lease_expires_at, heartbeat_at,
    lease_extensions, worker_id, published_at, publish_count, slice_size, travels_alone, queued_at,
    started_at, completed_at, progress, result, result_truncated, held_by, dead_letter_at,
    correlation_id, created_at, updated_at)
SELECT {ROW_ID.format(at="at", n="n")},
    {SCHEDULE_ID.format("1 + n * 7919::bigint %% %(schedules)s")},
    jsonb_build_object('name', 'schedule ' || n %% 1000, 'task_type', task_type,
        'timeout_ms', 300000, 'retry_policy', '{{"max_retries": 3}}'::jsonb,
        'task_config', jsonb_build_object('url', 'https://example.org/' || n)),
    %(first_owner)s + n %% {OWNERS}, CASE WHEN n %% 500 = 0 THEN 'manual' ELSE 'time' END, '{{}}',
    at, CASE WHEN status = 'pending' AND n %% 50 > 0 THEN %(now)s + interval '1 hour' ELSE at END,
    status, outcome, priority, priority, (status NOT IN ('pending', 'queued'))::int, 4,
    CASE WHEN status = 'running' THEN gen_random_uuid() END,
    CASE WHEN status = 'running' AND n %% 400 = 2 THEN %(now)s
         WHEN status = 'running' THEN %(now)s + interval '1 hour' END,
    CASE WHEN status = 'running' THEN %(now)s END, 0, 'worker-' || n %% 100,
    CASE WHEN n %% 7 = 0 THEN NULL WHEN n %% 11 = 0 THEN at ELSE %(now)s + interval '1 hour' END,
    1, 1, false,
    at, CASE WHEN status NOT IN ('pending', 'queued') THEN at END,
    CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN at + interval '1 second' END,
    '{{}}', CASE WHEN status = 'completed' THEN '{{"status": 200}}'::jsonb END, false,
    CASE WHEN status = 'pending' AND n %% 3 = 0 THEN 'owner' ELSE '' END,
    CASE WHEN status = 'failed' THEN at END, '', at, at
FROM (
    SELECT n, {AT.format(days=DAYS)} AS at,
        (ARRAY['normal', 'normal', 'high', 'low', 'critical'])[1 + n %% 5] AS priority,
        CASE WHEN n %% 1000 = 0 THEN 'agent' ELSE 'http_request' END AS task_type,
        CASE
            WHEN n > %(rows)s * 0.99 THEN
                (ARRAY['pending', 'queued', 'running', 'completed', 'waiting'])[1 + n %% 5]
            WHEN n %% 20000 = 1 THEN 'waiting'
            WHEN n %% 150 = 0 THEN 'failed'
            WHEN n %% 400 = 1 THEN 'cancelled'
            ELSE 'completed'
        END AS status,
        CASE WHEN n %% 20011 = 0 THEN 'partial' WHEN n %% 150 = 0 THEN 'timeout' ELSE 'ok' END
            AS outcome
    FROM generate_series(1, %(rows)s) AS n
) AS mixed
"""
SAMPLE: Final = """
    (SELECT e.*, row_number() OVER () AS place FROM (
        SELECT id, schedule_id, owner_id, created_at, number FROM task_executions
        WHERE number %% 100 < {share}) AS e)
"""
ID: Final = ROW_ID.format(at="created_at", n="place")
ID_AFTER: Final = ROW_ID.format(at="created_at + interval '1 ms'", n="place")
HISTORY: Final = (
    f"""
    INSERT INTO events (id, xid, type, topic, owner_id, schedule_id, execution_id, severity, data,
                        created_at)
    SELECT {ID_AFTER}, 1 + place / 1000, 'execution:completed',
        'execution:' || id, owner_id, schedule_id, id, '', '{{"status": "completed"}}', created_at
    FROM {SAMPLE.format(share=EVENTS)} AS e
    """,
    f"""
    INSERT INTO fire_records (id, schedule_id, nominal_at, cause, count, reason, execution_id,
                              lateness_ms, created_at)
    SELECT {ID}, schedule_id, created_at, '', 1, 'dispatched', id, 3, created_at
    FROM {SAMPLE.format(share=FIRES)} AS e
    """,
    f"""
    WITH error AS (
    INSERT INTO error_records (id, execution_id, schedule_id, owner_id, attempt, worker_id,
        started_at, ended_at, error_class, exception_type, message, stack, context, severity,
        fingerprint, incident_id, recovery_status, retry_at, note)
    SELECT {ID_AFTER}, id, schedule_id, owner_id, 1, 'worker-1',
        created_at, created_at, (ARRAY['transient', 'timeout', 'lost'])[1 + place %% 3], 'OSError',
        'Nobody answered', repeat('a line of a stack ', 20), '{{"name": "a job"}}',
        CASE WHEN place %% 5000 = 0 THEN 'critical' ELSE 'medium' END, 'f' || place %% 300,
        CASE WHEN created_at < %(now)s - {UNFOLDED} THEN {ID_AFTER} END,
        CASE WHEN place %% 1000 = 0 THEN 'retry_scheduled' WHEN place %% 7 = 0 THEN 'escalated'
             ELSE 'resolved' END,
        CASE WHEN place %% 1000 = 0 THEN %(now)s END, ''
    FROM {SAMPLE.format(share=ERRORS)} AS e
    RETURNING *
    )
    INSERT INTO incidents (id, key, owner_id, schedule_id, name, fingerprint, error_class,
        exception_type, title, severity, status, first_seen_at, last_seen_at, count, last_error_id,
        last_execution_id, resolved_at, reopened_count, note)
    SELECT incident_id, owner_id || ':' || schedule_id || ':' || fingerprint, owner_id, schedule_id,
        'a job', fingerprint, error_class, exception_type, message, severity, 'resolved', ended_at,
        ended_at, 1, id, execution_id, ended_at, 0, ''
    FROM error WHERE incident_id IS NOT NULL
    """,
    f"""
    INSERT INTO dead_letters (id, execution_id, schedule_id, owner_id, payload, attempts,
                              error_class, message, handling)
    SELECT {ID}, id, schedule_id, owner_id, '{{}}', 4, 'timeout', 'Too late',
        CASE WHEN place %% 50 = 0 THEN '' ELSE 'discarded' END
    FROM {SAMPLE.format(share=LETTERS)} AS e
    """,
    f"""
    INSERT INTO audit_log (id, actor, action, object_type, object_id, note)
    SELECT {ID}, 'root', 'execution.cancelled', 'execution', id::text, ''
    FROM {SAMPLE.format(share=AUDIT)} AS e
    """,
    f"""
    INSERT INTO outcome_inbox (id, execution_id, schedule_id, status, outcome, duration_ms,
                               completed_at)
    SELECT {ROW_ID.format(at="created_at", n="number")}, id, schedule_id, 'completed', 'ok', 1,
        created_at
    FROM task_executions ORDER BY id DESC LIMIT 3000
    """,
)


def fill(*, rows: int) -> None:
    """Make `rows` schedules and as many executions, with `DAYS` days of history."""
    now = clock.now()
    for table in partitions.TABLES:
        days = partitions.months(now - timedelta(days=DAYS + 1), now)
        partitions.ensure(table, days, now=now)
    values = {"now": now, "rows": rows, "schedules": rows, "first_owner": _owners()}
    _at_once([SCHEDULES], [EXECUTIONS], values=values)
    _at_once(HISTORY[::2], HISTORY[1::2], values=values)
    _gather_statistics()


def _gather_statistics() -> None:
    """As autovacuum does; it never comes to the months ahead, which nothing has been written to."""
    tables = ["task_schedules", "dead_letters", "incidents", "audit_log", "outcome_inbox"]
    tables += [one.name for each in partitions.TABLES for one in _written(each)]
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(f"VACUUM (ANALYZE) {', '.join(tables)}")
        cursor.execute(f"ANALYZE ONLY {', ONLY '.join(one.name for one in partitions.TABLES)}")
        cursor.execute("RESET statement_timeout")


def _written(table: partitions.Table) -> list[partitions.Partition]:
    return partitions.ended(table, before=partitions.next_month(partitions.month_of(clock.now())))


def _at_once(*parts: Sequence[str], values: Mapping[str, Any]) -> None:
    with ThreadPoolExecutor(len(parts)) as pool:
        for done in [pool.submit(_run, statements, values) for statements in parts]:
            done.result()


def _run(statements: Sequence[str], values: Mapping[str, Any]) -> None:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # A filling that fails is begun anew, and its references are right by construction.
            cursor.execute("SET LOCAL synchronous_commit = off")
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute("SET LOCAL statement_timeout = 0")
            for statement in statements:
                cursor.execute(statement, values)
    finally:
        connection.close()


def _owners() -> int:
    """Make the people whose rows these are; answers the id of the first."""
    made = User.objects.bulk_create([User(username=f"owner-{one}") for one in range(OWNERS)])
    first: int = made[0].pk
    return first
