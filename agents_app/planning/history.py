"""What earlier executions of a schedule came to, and how their calls went: bounded, by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile
from statistics import fmean
from typing import Any, Final
from uuid import UUID

from agents_app.planning.job_context import EndpointUse, Metrics, PastRun
from executions_app import ids, prepared
from executions_app.scrub import scrub, storable_text

MOST_RUNS: Final = 20
LOOKED_THROUGH: Final = 200
MOST_HEADLINE: Final = 300
MOST_REASON: Final = 200
MOST_NAMES: Final = 200
CLOCKS_DIFFER: Final = timedelta(minutes=1)

# What is read of the executions themselves is bounded first; only then comes what belongs to them.
RUNS: Final = """
SELECT e.id, e.completed_at, e.status, e.outcome, coalesce(c.tier, ''),
    (extract(epoch FROM e.completed_at - e.started_at) * 1000)::bigint,
    left(CASE WHEN e.status = 'failed' THEN coalesce(r.error_class || ': ' || r.message, '')
        WHEN c.summary <> '' THEN c.summary ELSE coalesce(e.result::text, '') END, 2 * %(most)s)
FROM (
    SELECT * FROM (
        SELECT id, completed_at, started_at, status, outcome, result, last_error_id
        FROM task_executions WHERE schedule_id = %(schedule)s AND id < %(before)s
        ORDER BY id DESC LIMIT %(looked_through)s
    ) AS latest
    WHERE status IN ('completed', 'failed', 'cancelled') ORDER BY id DESC LIMIT %(runs)s
) AS e
LEFT JOIN LATERAL (
    SELECT tier, summary FROM cycles WHERE execution_id = e.id LIMIT 1
) AS c ON true
LEFT JOIN LATERAL (
    SELECT error_class, message FROM error_records WHERE id = e.last_error_id LIMIT 1
) AS r ON true
ORDER BY e.id DESC
"""
# A step is younger than its execution: so most partitions need not be looked at.
USAGE: Final = """
SELECT name, count(*), count(*) FILTER (WHERE status = 'failed'),
    percentile_cont(0.5) WITHIN GROUP (
        ORDER BY extract(epoch FROM completed_at - started_at) * 1000),
    (array_agg(status ORDER BY id DESC))[1],
    (array_agg(reason ORDER BY id DESC) FILTER (WHERE status = 'failed'))[1]
FROM execution_steps
WHERE execution_id = ANY(%s) AND id >= %s AND status IN ('completed', 'failed')
GROUP BY name ORDER BY 3 DESC, 2 DESC, 1 LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Run:
    """An execution that has ended, and what is told of it."""

    id: UUID
    told: PastRun


def runs(schedule_id: UUID | None, *, before: UUID) -> list[Run]:
    """The newest executions of the schedule that began before that one and have ended."""
    if schedule_id is None:
        return []
    asked: dict[str, UUID | int] = {
        "schedule": schedule_id,
        "before": before,
        "looked_through": LOOKED_THROUGH,
        "runs": MOST_RUNS,
        "most": MOST_HEADLINE,
    }
    return [_run(row) for row in prepared.execute(RUNS, asked).fetchall()]


def _run(row: Sequence[Any]) -> Run:
    id_, ended_at, status, outcome, tier, duration_ms, headline = row
    told = PastRun(
        ended_at=ended_at,
        status=status,
        outcome=outcome,
        tier=tier,
        duration_ms=duration_ms,
        headline=scrub(storable_text(headline))[:MOST_HEADLINE],
    )
    return Run(id_, told)


def usage(execution_ids: Sequence[UUID]) -> tuple[EndpointUse, ...]:
    """How each endpoint and tool did in these executions; what fails most comes first."""
    if not execution_ids:
        return ()
    oldest = ids.floor(ids.instant(min(execution_ids)) - CLOCKS_DIFFER)
    wanted = [list(execution_ids), oldest, MOST_NAMES]
    return tuple(_use(row) for row in prepared.execute(USAGE, wanted).fetchall())


def _use(row: Sequence[Any]) -> EndpointUse:
    name, calls, failures, p50_ms, last_status, last_reason = row
    return EndpointUse(
        name=name,
        calls=calls,
        failures=failures,
        p50_ms=None if p50_ms is None else round(p50_ms),
        last_status=last_status,
        last_reason=scrub(last_reason or "")[:MOST_REASON],
    )


def metrics(past: Sequence[PastRun]) -> Metrics:
    """These executions, the newest first, in numbers; a cancelled one says nothing."""
    counted = [one for one in past if one.status != "cancelled"]
    durations = [one.duration_ms for one in counted if one.duration_ms is not None]
    good = sum(one.status == "completed" for one in counted)
    return Metrics(
        runs=len(counted),
        success_rate=round(good / len(counted), 3) if counted else None,
        mean_duration_ms=round(fmean(durations)) if durations else None,
        failures_in_a_row=len(list(takewhile(lambda one: one.status == "failed", counted))),
    )
