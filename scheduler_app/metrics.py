"""How schedules fire, in numbers for Prometheus: what came of it, and how beat keeps up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from prometheus_client.metrics_core import Metric

from executions_app import ids
from executions_app.metrics import LATELY, MOST_COUNTED, counter, gauge, read
from executions_app.models import SystemState

MOST_FIRES: Final = 100_000

SCHEDULES: Final = """
SELECT enabled, count(*), coalesce(sum(fired_count), 0), coalesce(sum(success_count), 0),
    coalesce(sum(failure_count), 0), coalesce(sum(total_duration_ms), 0)
FROM task_schedules GROUP BY enabled
"""
FIRES: Final = f"""
SELECT reason, sum(count) FROM (
    SELECT reason, count FROM fire_records WHERE id >= %(since)s
    ORDER BY id DESC LIMIT {MOST_FIRES}
) AS recent GROUP BY reason
"""  # noqa: S608  constants
ANSWERS_WANTED: Final = f"""
SELECT 'plan', count(*) FROM (
    SELECT FROM plan_approvals WHERE status = 'waiting' LIMIT {MOST_COUNTED}
) AS plans
UNION ALL
SELECT 'next_run', count(*) FROM (
    SELECT FROM schedule_decisions WHERE status = 'proposed' LIMIT {MOST_COUNTED}
) AS proposals
"""  # noqa: S608  constants
OVERDUE: Final = """
SELECT greatest(0, extract(epoch FROM now() - min(next_run_at)))::float8
FROM task_schedules WHERE enabled AND next_run_at <= now()
"""


def families(now: datetime) -> Iterator[Metric]:
    """Schedules and their fires; totals are of the schedules there are: a deletion lowers them."""
    rows = read(SCHEDULES)
    yield gauge(
        "schedules",
        "Schedules, by whether they are enabled",
        ["enabled"],
        [((str(row[0]).lower(),), row[1]) for row in rows],
    )
    for place, name, text in (
        (2, "fires", "Fires of all schedules"),
        (3, "runs_succeeded", "Executions of schedules that ended well"),
        (4, "runs_failed", "Executions of schedules that failed"),
    ):
        yield counter(name, text, [], [((), sum(row[place] for row in rows))])
    seconds = sum(row[5] for row in rows) / 1000
    yield counter("run_seconds", "How long executions of schedules took", [], [((), seconds)])
    words = {"since": ids.floor(now - LATELY)}
    yield gauge(
        "fires_last_hour",
        f"Fires recorded within the last hour, the newest {MOST_FIRES} records, by what came of it",
        ["reason"],
        [((reason,), number) for reason, number in read(FIRES, words)],
    )
    yield gauge(
        "approvals_waiting",
        f"What waits for a person to say yes or no; at most {MOST_COUNTED} of a kind",
        ["kind"],
        [((kind,), number) for kind, number in read(ANSWERS_WANTED)],
    )
    yield from _beat(now)


def _beat(now: datetime) -> Iterator[Metric]:
    late = read(OVERDUE)[0][0]
    text = "How long the schedule that is due longest has been due"
    yield gauge("overdue_seconds", text, [], [((), late or 0.0)])
    state = SystemState.objects.get()
    if state.scheduler_last_tick_at is not None:
        age = max(0.0, (now - state.scheduler_last_tick_at).total_seconds())
        yield gauge("tick_age_seconds", "Since a beat looked at the clock", [], [((), age)])
    text = "1 for the state that the system is in"
    yield gauge("system_status", text, ["status"], [((state.status,), 1)])
