"""What must hold after every fault, in plain SQL: each statement finds the rows that break a rule.

I1 to I4, I6, I7 and I9 are invariants of the design: fires, nothing stuck, attempts, fencing,
steps, cycles, and what is told beside what is. Of I8 `sampling.Watch` looks while all runs at what
cannot be seen afterwards, and `hygiene` at what is left behind.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from django.db import connection

from tests.processes import POLL_SECONDS, System

HEALED_SECONDS: Final = 60.0
NOTHING_HELD_OPEN: Final = "I8 a transaction that was held open over a call or a handler"
MOVES: Final = """
    SELECT execution_id, type, data, xid, id,
        lag(type) OVER (PARTITION BY execution_id ORDER BY xid, id) AS before
    FROM events
    WHERE topic = 'execution:' || execution_id AND type LIKE 'execution:%'
      AND type NOT IN ('execution:progress', 'execution:cancel_requested')
"""
BREAKERS: Final = {
    "I1 a dispatched fire without its execution, or an execution of a fire without it": """
        SELECT f.schedule_id, f.nominal_at, e.id
        FROM (SELECT * FROM fire_records WHERE reason = 'dispatched') f
        FULL JOIN (SELECT * FROM task_executions WHERE trigger IN ('time', 'dependency')) e
            ON e.id = f.execution_id AND e.nominal_at = f.nominal_at
                AND e.schedule_id = f.schedule_id
        WHERE e.id IS NULL OR f.id IS NULL
    """,
    "I1 a fire that did not run and has an execution, or one recorded twice": """
        SELECT schedule_id, nominal_at, cause, count(*) FROM fire_records
        GROUP BY 1, 2, 3 HAVING count(*) > 1 OR bool_or(reason <> 'dispatched'
            AND execution_id IS NOT NULL)
    """,
    "I1 an enabled schedule without a next run, or one that is overdue": """
        SELECT name, next_run_at FROM task_schedules WHERE enabled
          AND trigger_type = 'time_based'
          AND (next_run_at IS NULL OR next_run_at < now() - interval '10 seconds')
    """,
    "I2 running beyond its lease": """
        SELECT number, worker_id, lease_expires_at FROM task_executions
        WHERE status = 'running' AND lease_expires_at < now() - interval '3 seconds'
    """,
    "I2 queued and not claimed, or due and not queued": """
        SELECT number, status, due_at, queued_at FROM task_executions
        WHERE (status = 'queued' AND queued_at < now() - interval '20 seconds')
           OR (status = 'pending' AND held_by = '' AND due_at < now() - interval '10 seconds')
    """,
    "I2 an outcome of which nothing followed": """
        SELECT execution_id, status FROM outcome_inbox
        WHERE completed_at < now() - interval '10 seconds'
    """,
    "I3 attempts that are not errors + completed + cancelled once begun + live": """
        SELECT e.number, e.status, e.attempt, r.errors FROM task_executions e
        CROSS JOIN LATERAL (
            SELECT count(*) AS errors FROM error_records WHERE execution_id = e.id AND attempt > 0
        ) r
        CROSS JOIN LATERAL (
            SELECT count(*) AS cancelled FROM events WHERE execution_id = e.id
              AND type = 'execution:cancelled' AND data ? 'attempt'
        ) c
        WHERE e.attempt <> r.errors + c.cancelled
                + (e.status IN ('completed', 'running', 'waiting'))::int
           OR e.attempt > e.max_attempts
    """,
    "I3 attempts that are not claims without hand-backs": """
        SELECT e.number, e.attempt, c.claims, c.handed_back FROM task_executions e
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE type = 'execution:started') AS claims,
                count(*) FILTER (
                    WHERE type IN ('execution:handed_back', 'execution:approved')
                ) AS handed_back
            FROM events WHERE execution_id = e.id
        ) c
        WHERE e.attempt <> c.claims - c.handed_back
    """,
    "I3 a failed execution without its one open dead letter, or a dead letter of another": """
        SELECT e.number, e.status, d.id FROM
            (SELECT * FROM task_executions WHERE status = 'failed' AND discarded_at IS NULL
                AND outcome NOT IN ('rejected', 'expired')) e
        FULL JOIN (SELECT * FROM dead_letters WHERE handling = '') d ON d.execution_id = e.id
        WHERE e.id IS NULL OR d.id IS NULL
    """,
    "I3 an error still open although its execution ended": """
        SELECT e.number, e.status, r.recovery_status
        FROM error_records r JOIN task_executions e ON e.id = r.execution_id
        WHERE e.completed_at < now() - interval '10 seconds'
          AND r.recovery_status IN ('pending', 'retry_scheduled', 'retrying')
    """,
    "I3 an escalated error of a completed execution": """
        SELECT e.number, r.attempt, r.handled_at
        FROM error_records r JOIN task_executions e ON e.id = r.execution_id
        WHERE e.status = 'completed' AND r.recovery_status = 'escalated'
    """,
    "I4 claimed while an earlier claim was live": f"""
        SELECT execution_id, before, type FROM ({MOVES}) m
        WHERE type = 'execution:started' AND before IS DISTINCT FROM 'execution:queued'
          AND before IS DISTINCT FROM 'execution:handed_back'
    """,
    "I4 moved after its end": f"""
        SELECT execution_id, before, type FROM ({MOVES}) m
        WHERE before IN ('execution:completed', 'execution:cancelled')
           OR (before = 'execution:failed' AND type <> 'execution:requeued')
    """,
    "I6 a step that began after it had ended well": """
        SELECT later.execution_id, later.data->>'name'
        FROM events ended JOIN events later USING (execution_id)
        WHERE ended.type = 'step:completed' AND later.type = 'step:started'
          AND later.data->>'step' = ended.data->>'step'
          AND (later.xid, later.id) > (ended.xid, ended.id)
    """,
    "I6 a step that began before what it depends on had ended well": """
        SELECT s.execution_id, s.name, d.name FROM execution_steps s
        JOIN execution_steps d ON d.id = ANY (s.depends_on)
        WHERE s.started_at IS NOT NULL
          AND (d.status <> 'completed' OR d.completed_at > s.started_at)
    """,
    "I6 a step that is still to begin, or goes on, though its execution has ended": """
        SELECT s.execution_id, s.name, s.status, e.status
        FROM execution_steps s JOIN task_executions e ON e.id = s.execution_id
        WHERE s.status IN ('planned', 'queued', 'running')
          AND e.completed_at < now() - interval '10 seconds'
    """,
    "I7 a cycle that nobody carries on": """
        SELECT c.id, c.stage, c.updated_at FROM cycles c
        WHERE c.status = 'running' AND c.stage <> 'wait'
          AND c.updated_at < now() - interval '20 seconds'
          AND coalesce(c.stage_expires_at < now() - interval '3 seconds', true)
          AND NOT EXISTS (
            SELECT FROM execution_steps s WHERE s.execution_id = c.execution_id
              AND s.status = 'running' AND s.lease_expires_at > now() - interval '3 seconds'
          )
    """,
    "I7 a cycle that goes on without its execution": """
        SELECT c.id, c.stage, e.status FROM cycles c JOIN task_executions e ON e.id = c.execution_id
        WHERE c.status = 'running' AND e.status IN ('completed', 'failed', 'cancelled')
    """,
    "I7 a plan that waits for an answer though its execution does not": """
        SELECT a.id, a.status, e.status FROM plan_approvals a
        JOIN task_executions e ON e.id = a.execution_id
        WHERE a.status = 'waiting' AND e.status <> 'waiting'
          AND e.updated_at < now() - interval '10 seconds'
    """,
    "I7 an execution that waits and nobody is asked": """
        SELECT e.number FROM task_executions e WHERE e.status = 'waiting' AND NOT EXISTS (
            SELECT FROM plan_approvals a WHERE a.execution_id = e.id AND a.status = 'waiting'
        )
    """,
    "I9 a state that is not the one that was told last": """
        SELECT e.number, e.status, told.status FROM task_executions e
        CROSS JOIN LATERAL (
            SELECT data->>'status' AS status FROM events
            WHERE execution_id = e.id AND topic = 'execution:' || e.id
              AND type LIKE 'execution:%'
              AND type NOT IN ('execution:progress', 'execution:cancel_requested')
            ORDER BY xid DESC, id DESC LIMIT 1
        ) told
        WHERE told.status IS DISTINCT FROM e.status
    """,
}


def broken() -> dict[str, list[Any]]:
    """The rules that do not hold, each with the rows that break it; empty when all is well."""
    found = {}
    with connection.cursor() as cursor:
        for rule, statement in BREAKERS.items():
            cursor.execute(statement)
            if rows := cursor.fetchall():
                found[rule] = rows[:5]
    return found


def healed() -> dict[str, list[Any]]:
    """The rules that do not hold, each with such rows; those that bound a time may hold later.

    A machine that is busy takes longer. What may never be is not waited for.
    """
    ends = time.monotonic() + HEALED_SECONDS
    while (found := broken()) and _bound_times(found) and time.monotonic() < ends:
        time.sleep(POLL_SECONDS)
    return found


def _bound_times(rules: Iterable[str]) -> bool:
    return all("interval" in BREAKERS[one] for one in rules)


def disagreements(system: System) -> list[str]:
    """Where what the handlers wrote down and what the tables say contradict each other."""
    began: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for entry in system.entries():
        {"began": began, "ended": ended}.get(entry["what"], Counter())[entry["execution"]] += 1
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT e.id::text, e.status, (SELECT count(*) FROM events
                WHERE execution_id = e.id AND type = 'execution:started')
            FROM task_executions e WHERE e.snapshot->>'task_type' = 'act'
        """)
        rows = cursor.fetchall()
    known = {row[0] for row in rows}
    found = [
        f"{id_} is {status}: claimed {claims} times, began {began[id_]}, ended {ended[id_]}"
        for id_, status, claims in rows
        if began[id_] > claims or (status == "completed" and not ended[id_])
    ]
    return found + [f"{id_} has no row" for id_ in began if id_ not in known]
