"""Looks at executions at work that show no life, should have ended, or take far too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from config.env import env
from errors_app.alerting.findings import Finding, Scope, ask, span
from errors_app.alerting.kinds import StalledExecution

# A runner renews the heartbeat of what it carries out. A cycle does not: it has the lease to its
# deadline (`executions_app.leases`), and from then on its stage and its steps are renewed. Cycles
# belong to the app above, so they are read by SQL. What is a sign of life, and that two leases
# without one are too many, says `agents_app.cycle.monitor`: change both, a test compares them.
# One that waits for an agent owes nobody a sign, and its time limit has not begun: both are null.
# When it got one is told by its deadline.
# What an earlier attempt has left of a cycle says nothing: the token is another one then.
CYCLE: Final = """
SELECT c.stage, CASE WHEN c.stage <> 'wait' THEN c.deadline END AS deadline,
    CASE WHEN c.stage <> 'wait' THEN greatest(
        c.started_at, e.started_at, c.deadline - e.timeout_ms * interval '1 ms',
        c.stage_expires_at - %(lease)s * interval '1 second', (
            SELECT max(greatest(s.created_at, s.started_at, s.completed_at,
                s.lease_expires_at - %(lease)s * interval '1 second'))
            FROM execution_steps s WHERE s.execution_id = e.id
        )
    ) END AS seen_at
FROM cycles c
WHERE c.execution_id = e.id AND c.token = e.lease_token AND c.status = 'running'
"""
LEASES: Final = 2
STALLED: Final = """
SELECT e.id, e.number, e.schedule_id, e.owner_id, e.name, e.worker_id, e.attempt, c.stage,
    CASE WHEN life.seen_at < now() - life.patience * interval '1 ms'
        THEN extract(epoch FROM now() - life.seen_at) * 1000 END,
    e.timeout_ms + extract(epoch FROM now() - life.deadline) * 1000, e.timeout_ms
FROM (
    SELECT id, number, schedule_id, owner_id, snapshot ->> 'name' AS name, worker_id, attempt,
        lease_token, heartbeat_at, started_at, (snapshot ->> 'timeout_ms')::float AS timeout_ms,
        started_at + (snapshot ->> 'timeout_ms')::float * interval '1 ms' AS deadline
    FROM task_executions
    WHERE status = 'running' AND {scope} AND (
        heartbeat_at < now() - %(heartbeat)s * interval '1 ms'
        OR started_at < now() - ((snapshot ->> 'timeout_ms')::float + %(over)s) * interval '1 ms'
    )
    OFFSET 0
) AS e
LEFT JOIN LATERAL ({cycle}) AS c ON true
CROSS JOIN LATERAL (
    SELECT CASE WHEN c.stage IS NULL THEN e.heartbeat_at ELSE c.seen_at END AS seen_at,
        CASE WHEN c.stage IS NULL THEN e.deadline ELSE c.deadline END AS deadline,
        CASE WHEN c.stage IS NULL THEN %(heartbeat)s
            ELSE greatest(%(heartbeat)s, %(cycle)s) END AS patience
) AS life
WHERE life.seen_at < now() - life.patience * interval '1 ms'
    OR life.deadline < now() - %(over)s * interval '1 ms'
ORDER BY concat(e.id, ':', e.attempt) = ANY(%(firing)s::text[]) DESC, e.id LIMIT {most}
"""
UNUSUAL: Final = """
SELECT r.id, r.number, r.schedule_id, r.owner_id, r.name, r.worker_id, r.attempt, NULL, r.took,
    usual.p95
FROM (
    SELECT id, number, schedule_id, owner_id, snapshot ->> 'name' AS name, worker_id, attempt,
        extract(epoch FROM now() - started_at) * 1000 AS took
    FROM task_executions
    WHERE status = 'running' AND schedule_id IS NOT NULL AND {scope}
    ORDER BY concat(id, ':', attempt) = ANY(%(firing)s::text[]) DESC, id
    LIMIT 200 + cardinality(%(firing)s::text[])
) AS r CROSS JOIN LATERAL (
    SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY took) AS p95, count(*) AS number FROM (
        SELECT status, extract(epoch FROM completed_at - started_at) * 1000 AS took
        FROM task_executions e WHERE e.schedule_id = r.schedule_id ORDER BY id DESC LIMIT 50
    ) AS newest WHERE status = 'completed'
) AS usual
WHERE usual.number >= %(runs)s AND r.took > 1000 AND r.took > %(factor)s * usual.p95
    AND NOT EXISTS (
        SELECT FROM cycles c
        WHERE c.execution_id = r.id AND c.status = 'running' AND c.stage = 'wait'
    )
ORDER BY r.id LIMIT {most}
"""


def stalled_execution(wanted: StalledExecution, scope: Scope) -> list[Finding]:
    """Running executions that show no life, or should have ended."""
    values = {
        **scope.values,
        "heartbeat": wanted.heartbeat_ms,
        "over": wanted.over_limit_ms,
        "runs": wanted.p95_min_runs,
        "factor": wanted.p95_factor,
        "lease": env.lease_seconds,
        "cycle": LEASES * env.lease_seconds * 1000,
    }
    found = {}
    statement = STALLED.format(scope=scope.condition(), cycle=CYCLE, most=scope.most)
    for *row, silent, ran, limit in ask(statement, values):
        if silent is not None:
            why = f"gave no sign of life for {span(silent)}"
        else:
            why = f"runs for {span(ran)}, its time limit is {span(limit)}"
        found[row[0]] = _stalled(row, why)
    if wanted.p95_factor is not None:
        statement = UNUSUAL.format(scope=scope.condition(), most=scope.most)
        for *row, ran, usual in ask(statement, values):
            why = f"runs for {span(ran)}, 95 of 100 end within {span(usual)}"
            found.setdefault(row[0], _stalled(row, why))
    return list(found.values())


def _stalled(row: Sequence[Any], why: str) -> Finding:
    """`stage`: where its cycle stands, if one carries it out; no worker holds it then."""
    id_, number, schedule_id, owner_id, name, worker_id, attempt, stage = row
    where = f"its cycle stands at {stage!r}" if stage else f"worker {worker_id}"
    return Finding(
        key=f"{id_}:{attempt}",
        message=f"Execution #{number} of {name!r} {why}; {where}",
        details={
            "execution_id": str(id_),
            "number": number,
            "worker_id": worker_id,
            **({"stage": stage} if stage else {}),
        },
        schedule_id=schedule_id,
        owner_id=owner_id,
    )
