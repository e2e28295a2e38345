"""Looks at executions that should have begun or ended by now, and at schedules that are silent.

Each statement begins with a bounded number of rows along an index: of a long backlog the alarm
needs the oldest, not all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from errors_app.alerting.findings import SCHEDULE_FIRES, Finding, Scope, ask, span
from errors_app.alerting.kinds import (
    FinishBy,
    LateSchedule,
    QueueAge,
    SilentSchedule,
    StalledExecution,
)
from executions_app.wording import iso

COLUMNS: Final = """id, number, schedule_id, owner_id, snapshot ->> 'name' AS name, status,
    trigger, attempt, nominal_at, due_at"""
QUEUED: Final = """(SELECT {columns} FROM task_executions
    WHERE status = 'queued' AND {scope} ORDER BY published_at LIMIT 2000)"""
UNSENT: Final = """(SELECT {columns} FROM task_executions
    WHERE status = 'queued' AND published_at IS NULL AND {scope} LIMIT 2000)"""
PENDING: Final = """(SELECT {columns} FROM task_executions
    WHERE status = 'pending' AND held_by = '' AND {scope} ORDER BY due_at LIMIT 2000)"""
HELD: Final = """(SELECT {columns} FROM task_executions
    WHERE status = 'pending' AND held_by <> '' AND {scope} LIMIT 2000)"""
RUNNING: Final = """(SELECT {columns} FROM task_executions
    WHERE status = 'running' AND {scope} ORDER BY id LIMIT 2000)"""
# What fires already, however many others wait for longer.
OF_FIRING: Final = """(SELECT one.* FROM unnest(%(firing_ids)s::uuid[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT {columns} FROM task_executions e
    WHERE e.schedule_id = k.id AND status = ANY(%(statuses)s) AND {held} AND {scope} LIMIT 200
) AS one)"""
NOT_BEGUN: Final = f"{QUEUED} UNION ALL {UNSENT} UNION ALL {PENDING}"
OLDEST_OF_EACH: Final = """
SELECT * FROM (
    SELECT DISTINCT ON (schedule_id) schedule_id, owner_id, name, number, status, nominal_at
    FROM ({rows}) AS sample
    WHERE schedule_id IS NOT NULL AND nominal_at IS NOT NULL AND {late}
    ORDER BY schedule_id, nominal_at
) AS oldest
ORDER BY {fires} DESC, nominal_at LIMIT {most}
"""
LATE: Final = """trigger = 'time' AND attempt = 0
    AND greatest(nominal_at, due_at) < now() - %(limit)s * interval '1 ms'"""
UNFINISHED: Final = """trigger = 'time'
    AND nominal_at < now() - %(limit)s * interval '1 ms'"""
# Along the due index, one priority after the other; not while a person has stopped the scheduler.
UNFIRED: Final = """
SELECT id, owner_id, name, NULL, 'due', next_run_at FROM task_schedules
WHERE id = ANY(%(firing_ids)s::uuid[]) AND enabled
    AND next_run_at < now() - %(limit)s * interval '1 ms' AND {scope}
    AND (SELECT scheduler_running FROM system_state)
UNION ALL
SELECT s.id, s.owner_id, s.name, NULL, 'due', s.next_run_at
FROM (VALUES ('critical'), ('high'), ('normal'), ('low')) AS p(priority)
CROSS JOIN LATERAL (
    SELECT id, owner_id, name, next_run_at FROM task_schedules
    WHERE enabled AND next_run_at IS NOT NULL AND priority = p.priority
        AND next_run_at < now() - %(limit)s * interval '1 ms' AND {scope}
        AND id <> ALL(%(firing_ids)s::uuid[])
    ORDER BY next_run_at LIMIT {most}
) AS s
WHERE (SELECT scheduler_running FROM system_state)
"""
STALLED: Final = """
SELECT id, number, schedule_id, owner_id, snapshot ->> 'name', worker_id, attempt,
    extract(epoch FROM now() - heartbeat_at) * 1000,
    extract(epoch FROM now() - started_at) * 1000, (snapshot ->> 'timeout_ms')::float
FROM task_executions
WHERE status = 'running' AND {scope} AND (
    heartbeat_at < now() - %(heartbeat)s * interval '1 ms'
    OR started_at < now() - ((snapshot ->> 'timeout_ms')::float + %(over)s) * interval '1 ms'
)
ORDER BY concat(id, ':', attempt) = ANY(%(firing)s::text[]) DESC, id LIMIT {most}
"""
UNUSUAL: Final = """
SELECT r.id, r.number, r.schedule_id, r.owner_id, r.name, r.worker_id, r.attempt, r.took, usual.p95
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
ORDER BY r.id LIMIT {most}
"""
OLDEST_QUEUED: Final = f"""
SELECT queue, min(queued_at), extract(epoch FROM now() - min(queued_at)) * 1000, count(*)
FROM ({QUEUED} UNION ALL {UNSENT}) AS sample GROUP BY queue
HAVING min(queued_at) < now()
    - (CASE WHEN queue = 'low' THEN %(low)s ELSE %(limit)s END) * interval '1 ms'
ORDER BY queue
"""  # noqa: S608  composed of constants of this file only
SILENT: Final = """
SELECT id, owner_id, name, last_success_at FROM (
    SELECT id, owner_id, name, last_success_at, anchor_at, created_at FROM task_schedules
    WHERE enabled AND {scope} ORDER BY id LIMIT 10000
) AS s
WHERE greatest(last_success_at, anchor_at, created_at) < now() - %(limit)s * interval '1 ms'
ORDER BY id = ANY(%(firing_ids)s::uuid[]) DESC, id LIMIT {most}
"""


def late_schedule(wanted: LateSchedule, scope: Scope) -> list[Finding]:
    """Fires that have not begun: nobody has looked at them, or they wait somewhere."""
    values = {**scope.values, "limit": wanted.start_by_ms}
    unfired = UNFIRED.format(scope=scope.condition(schedule="id"), most=scope.most)
    values["statuses"] = ["pending", "queued"]
    waiting = f"{NOT_BEGUN} UNION ALL {HELD}" if wanted.with_held else NOT_BEGUN
    sample = _sample(waiting, LATE, scope, held="true" if wanted.with_held else "held_by = ''")
    rows = ask(unfired, values) + ask(sample, values)
    return _of_each(rows, f"has not begun {span(wanted.start_by_ms)} after it was to begin")


def finish_by(wanted: FinishBy, scope: Scope) -> list[Finding]:
    """Executions that have not ended so long after their nominal instant."""
    statement = _sample(f"{NOT_BEGUN} UNION ALL {HELD} UNION ALL {RUNNING}", UNFINISHED, scope)
    statuses = ["pending", "queued", "running"]
    rows = ask(statement, {**scope.values, "limit": wanted.finish_by_ms, "statuses": statuses})
    return _of_each(rows, f"has not ended {span(wanted.finish_by_ms)} after it was to begin")


def stalled_execution(wanted: StalledExecution, scope: Scope) -> list[Finding]:
    """Running executions that show no life, or should have ended."""
    values = {
        **scope.values,
        "heartbeat": wanted.heartbeat_ms,
        "over": wanted.over_limit_ms,
        "runs": wanted.p95_min_runs,
        "factor": wanted.p95_factor,
    }
    found = {}
    statement = STALLED.format(scope=scope.condition(), most=scope.most)
    for *row, silent, ran, limit in ask(statement, values):
        if silent is None or silent > wanted.heartbeat_ms:
            why = f"gave no sign of life for {span(silent or ran)}"
        else:
            why = f"runs for {span(ran)}, its time limit is {span(limit)}"
        found[row[0]] = _stalled(row, why)
    if wanted.p95_factor is not None:
        statement = UNUSUAL.format(scope=scope.condition(), most=scope.most)
        for *row, ran, usual in ask(statement, values):
            why = f"runs for {span(ran)}, 95 of 100 end within {span(usual)}"
            found.setdefault(row[0], _stalled(row, why))
    return list(found.values())


def queue_age(wanted: QueueAge, scope: Scope) -> list[Finding]:
    """Queues in which somebody waits too long."""
    rows = ask(
        OLDEST_QUEUED.format(columns="queue, queued_at", scope=scope.condition()),
        {**scope.values, "limit": wanted.max_age_ms, "low": wanted.low_max_age_ms},
    )
    return [
        Finding(
            key=queue,
            message=f"Queue {queue!r}: the oldest execution stands there for {span(age)}",
            details={"queue": queue, "since": since.isoformat(), "queued": number},
        )
        for queue, since, age, number in rows
    ]


def silent_schedule(wanted: SilentSchedule, scope: Scope) -> list[Finding]:
    """Schedules of which nothing completes any more."""
    rows = ask(
        SILENT.format(scope=scope.condition(schedule="id"), most=scope.most),
        {**scope.values, "limit": wanted.max_silence_ms},
    )
    return [
        Finding(
            key=str(schedule_id),
            message=f"Schedule {name!r}: nothing has completed for {span(wanted.max_silence_ms)}"
            + (f"; the last did {iso(last)}" if last else "; nothing ever did"),
            details={"last_success_at": _instant(last)},
            schedule_id=schedule_id,
            owner_id=owner_id,
        )
        for schedule_id, owner_id, name, last in rows
    ]


def _sample(rows: str, late: str, scope: Scope, *, held: str = "true") -> str:
    every = f"{rows} UNION ALL {OF_FIRING}"
    sample = every.format(columns=COLUMNS, scope=scope.condition(), held=held)
    return OLDEST_OF_EACH.format(rows=sample, late=late, fires=SCHEDULE_FIRES, most=scope.most)


def _of_each(rows: Sequence[tuple[Any, ...]], what: str) -> list[Finding]:
    """One finding per schedule: its oldest fire."""
    found: dict[Any, Finding] = {}
    for schedule_id, owner_id, name, number, status, nominal_at in rows:
        which = f"#{number} is {status}" if number else "no execution of it was made yet"
        found.setdefault(
            schedule_id,
            Finding(
                key=str(schedule_id),
                message=f"Schedule {name!r}: the fire of {iso(nominal_at)} {what}; {which}",
                details={"nominal_at": nominal_at.isoformat(), "execution": number},
                schedule_id=schedule_id,
                owner_id=owner_id,
            ),
        )
    return list(found.values())


def _stalled(row: Sequence[Any], why: str) -> Finding:
    id_, number, schedule_id, owner_id, name, worker_id, attempt = row
    return Finding(
        key=f"{id_}:{attempt}",
        message=f"Execution #{number} of {name!r} {why}; worker {worker_id}",
        details={"execution_id": str(id_), "number": number, "worker_id": worker_id},
        schedule_id=schedule_id,
        owner_id=owner_id,
    )


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
