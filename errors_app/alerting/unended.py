"""Looks at executions that should have begun or ended by now, and at schedules that are silent.

Each statement begins with a bounded number of rows along an index: of a long backlog the alarm
needs the oldest, not all. Those that are queued are taken queue by queue, so that a long one hides
nothing that waits in another; the price is that the few of a short queue are looked for among all.
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
)
from executions_app.states import ACTIVE
from executions_app.wording import iso

COLUMNS: Final = """id, number, schedule_id, owner_id, snapshot ->> 'name' AS name, status,
    trigger, attempt, nominal_at, due_at"""
SAMPLED: Final = 1_000  # rows of each queue
# An execution has stood in its queue since `queued_at`, which nothing moves meanwhile. The index is
# one of `published_at`, which moves whenever its message is sent again: of a longer queue these are
# the rows whose message was sent longest ago, and the oldest has waited for at least as long.
OF_EACH_QUEUE: Final = """(SELECT one.*
FROM (VALUES ('critical'), ('high'), ('normal'), ('low')) AS q(queue)
CROSS JOIN LATERAL (
    SELECT {{columns}} FROM task_executions e
    WHERE status = 'queued' AND e.queue = q.queue AND {published} AND {{scope}}
    ORDER BY published_at LIMIT %(sampled)s
) AS one)"""
QUEUED: Final = OF_EACH_QUEUE.format(published="published_at IS NOT NULL")
UNSENT: Final = OF_EACH_QUEUE.format(published="published_at IS NULL")
PENDING: Final = """(SELECT {columns} FROM task_executions
    WHERE status = 'pending' AND held_by = '' AND {scope} ORDER BY due_at LIMIT 2000)"""
HELD: Final = """(SELECT {columns} FROM task_executions
    WHERE status = 'pending' AND held_by <> '' AND {scope} LIMIT 2000)"""
RUNNING: Final = """(SELECT {columns} FROM task_executions
    WHERE status = 'running' AND {scope} ORDER BY id LIMIT 2000)"""
# Each is asked about in a row of the app above: executions have no index of those that wait.
WAITING: Final = """(SELECT {columns} FROM task_executions
    WHERE status = 'waiting' AND {scope} AND id = ANY(ARRAY(
        SELECT execution_id FROM plan_approvals WHERE status = 'waiting' AND {scope}
        ORDER BY execution_id LIMIT 2000
    )))"""
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
    values = {**scope.values, "sampled": SAMPLED, "limit": wanted.start_by_ms}
    unfired = UNFIRED.format(scope=scope.condition(schedule="id"), most=scope.most)
    values["statuses"] = ["pending", "queued"]
    waiting = f"{NOT_BEGUN} UNION ALL {HELD}" if wanted.with_held else NOT_BEGUN
    sample = _sample(waiting, LATE, scope, held="true" if wanted.with_held else "held_by = ''")
    rows = ask(unfired, values) + ask(sample, values)
    return _of_each(rows, f"has not begun {span(wanted.start_by_ms)} after it was to begin")


def finish_by(wanted: FinishBy, scope: Scope) -> list[Finding]:
    """Executions that have not ended so long after their nominal instant."""
    unended = f"{NOT_BEGUN} UNION ALL {HELD} UNION ALL {RUNNING} UNION ALL {WAITING}"
    values = {**scope.values, "sampled": SAMPLED, "limit": wanted.finish_by_ms}
    values["statuses"] = [one.value for one in sorted(ACTIVE)]
    rows = ask(_sample(unended, UNFINISHED, scope), values)
    return _of_each(rows, f"has not ended {span(wanted.finish_by_ms)} after it was to begin")


def queue_age(wanted: QueueAge, scope: Scope) -> list[Finding]:
    """Queues in which somebody waits too long."""
    rows = ask(
        OLDEST_QUEUED.format(columns="queue, queued_at", scope=scope.condition()),
        {
            **scope.values,
            "sampled": SAMPLED,
            "limit": wanted.max_age_ms,
            "low": wanted.low_max_age_ms,
        },
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


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
