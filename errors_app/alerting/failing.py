"""Looks at executions that ended: how many of them failed.

It goes by when they ended. A failing execution has its end after its retries only, and before a
long backlog stands none that has ended: the newest executions say nothing about the rate.
"""

from __future__ import annotations

from typing import Final

from errors_app.alerting.ended import since, whose
from errors_app.alerting.findings import SCHEDULE_FIRES, Finding, Scope, ask, span
from errors_app.alerting.kinds import DAY_MS, FailureRate

JUDGED: Final = 100  # schedules where the most failed, besides those that fire
OF_EACH: Final = """
SELECT schedule_id, min(owner_id) AS owner_id, max(name) AS name,
    array_agg(completed_at) AS ends, (array_agg(id ORDER BY id DESC))[1] AS newest_id
FROM failed WHERE schedule_id IS NOT NULL
GROUP BY schedule_id ORDER BY {fires} DESC, count(*) DESC LIMIT {judged}
"""
OF_ALL: Final = """
SELECT NULL::uuid AS schedule_id, NULL::int AS owner_id, '' AS name,
    array_agg(completed_at) AS ends, (array_agg(id ORDER BY id DESC))[1] AS newest_id
FROM failed HAVING count(*) > 0
"""
# Begins with the few that failed: where none did, nothing else is read. Beside the failures of a
# schedule stand the completed ones that ended in the same time, found among its newest executions.
# Where a backlog hides them, the executions around the newest failure stand for all.
RATES: Final = """
WITH failed AS MATERIALIZED (
    SELECT id, schedule_id, owner_id, snapshot ->> 'name' AS name, completed_at FROM (
        SELECT id, schedule_id, owner_id, snapshot, completed_at FROM task_executions
        WHERE status = 'failed' AND id >= %(since)s AND {scope} ORDER BY id DESC LIMIT 5000
    ) AS newest WHERE completed_at > now() - %(window)s * interval '1 ms'
), covered AS MATERIALIZED (
    SELECT CASE WHEN count(*) >= 5000 THEN min(completed_at) END AS since FROM failed
), failing AS MATERIALIZED ({failing})
SELECT failing.schedule_id, failing.owner_id, failing.name, rate.number, rate.failed
FROM failing CROSS JOIN covered
CROSS JOIN LATERAL (
    SELECT array_agg(completed_at) AS ends, count(*) >= {enough} AS is_full,
        min(completed_at) AS since
    FROM (
        SELECT completed_at FROM (
            SELECT status, completed_at FROM task_executions e WHERE {whose}
            ORDER BY id DESC LIMIT {looked}
        ) AS newest WHERE status = 'completed' LIMIT {enough}
    ) AS completed
) AS well
CROSS JOIN LATERAL (
    SELECT CASE WHEN well.is_full THEN false ELSE (
        SELECT count(*) >= {looked} FROM (
            SELECT FROM task_executions e WHERE {whose} ORDER BY id DESC LIMIT {looked}
        ) AS newest
    ) END AS is_hidden, greatest(
        now() - %(window)s * interval '1 ms', covered.since,
        CASE WHEN well.is_full THEN well.since END
    ) AS since
) AS time
CROSS JOIN LATERAL (
    SELECT count(*) AS number, count(*) FILTER (WHERE is_failure) AS failed FROM (
        SELECT false AS is_failure FROM unnest(well.ends) AS one(at)
        WHERE NOT time.is_hidden AND at >= time.since
        UNION ALL
        SELECT true FROM unnest(failing.ends) AS one(at)
        WHERE NOT time.is_hidden AND at >= time.since
        UNION ALL
        SELECT status = 'failed' FROM (
            SELECT status, completed_at FROM task_executions e
            WHERE time.is_hidden AND {whose} AND id <= failing.newest_id
            ORDER BY id DESC LIMIT {enough}
        ) AS around
        WHERE status IN ('completed', 'failed')
            AND completed_at > now() - %(window)s * interval '1 ms'
    ) AS ended
) AS rate
WHERE rate.number >= %(min_runs)s AND rate.failed * 100 >= %(percent)s * rate.number
ORDER BY rate.failed DESC, failing.schedule_id
"""


def failure_rate(wanted: FailureRate, scope: Scope) -> list[Finding]:
    """Schedules of which too many executions failed; or everything at once."""
    rows = ask(
        _statement(wanted, scope),
        {
            **scope.values,
            "since": since(wanted.window_ms + DAY_MS),
            "window": wanted.window_ms,
            "min_runs": wanted.min_runs,
            "percent": wanted.threshold_percent,
        },
    )
    return [
        Finding(
            key=str(schedule_id or "everything"),
            message=f"{whose(name)}: {failed} of {number} executions failed within "
            f"{span(wanted.window_ms)}",
            details={"failed": failed, "ended": number, "percent": round(100 * failed / number, 1)},
            schedule_id=schedule_id,
            owner_id=owner_id,
        )
        for schedule_id, owner_id, name, number, failed in rows
    ]


def _statement(wanted: FailureRate, scope: Scope) -> str:
    mine = scope.condition()
    if wanted.per == "everything":
        return RATES.format(scope=mine, failing=OF_ALL, whose=mine, enough=2_000, looked=10_000)
    failing = OF_EACH.format(fires=SCHEDULE_FIRES, judged=JUDGED + len(scope.firing))
    of_one = "e.schedule_id = failing.schedule_id"
    return RATES.format(scope=mine, failing=failing, whose=of_one, enough=200, looked=1_000)
