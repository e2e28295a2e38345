"""The whole journey: all workers killed, then all beats, then Redis with everything in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from executions_app.models import Execution
from scheduler_app.models import Schedule
from tests.faults.conftest import THREADS
from tests.faults.nemesis import Nemesis
from tests.faults.oracle import wrong_fires
from tests.faults.test_beats import wait_for_fires
from tests.journeys.scenario import every, retries, schedule
from tests.journeys.test_dispatch import fires
from tests.processes import System

# Workers, beats and Redis are killed one by one in `test_workers`, `test_beats` and `test_redis`.
pytestmark = [pytest.mark.fault, pytest.mark.long]

RETURN_SECONDS = 60.0
WORKERS = ("worker", "worker-2")
BEATS = ("beat", "beat-2")

OVERDUE = """
SELECT name FROM task_schedules WHERE enabled AND next_run_at < now() - interval '1 second'
"""
# Claimed again since the return, ended, or due in the future: nothing else is in order.
LEFT_LYING = """
SELECT number FROM task_executions
WHERE created_at <= %(returned_at)s AND NOT (
    status IN ('completed', 'failed', 'cancelled')
    OR (status = 'running' AND started_at > %(returned_at)s)
    OR (status = 'running' AND lease_expires_at > now() AND worker_id = ANY(%(workers)s))
    OR (status = 'pending' AND due_at > now())
)
"""


def rows(statement: str, **parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def workload() -> list[Schedule]:
    """Quick and long jobs, good and failing ones, one fire a second each."""
    policy = {"overlap_policy": "allow", "catchup_policy": "all", "catchup_limit": 100}
    acts: list[dict[str, Any]] = [{}, {}, {"fails": 1}, {"fails": 9}, {"seconds": 0.8}]
    return [schedule(act, **every(1, **policy), retry_policy=retries(5)) for act in acts]


def is_under_load() -> bool:
    """Something runs and something has failed before: the kill hits work in every state."""
    busy = Execution.objects.filter(status="running").exists()
    return busy and Execution.objects.filter(status="pending", attempt__gt=0).count() > 0


def wait_for_order(system: System) -> None:
    """Within a minute of the return: every due fire decided, every execution taken care of."""
    returned_at = datetime.now(UTC)
    system.until(
        lambda: not rows(OVERDUE) and not rows(LEFT_LYING, **seen(system, returned_at)),
        what="everything is in order again",
        seconds=RETURN_SECONDS,
    )


def seen(system: System, returned_at: datetime) -> dict[str, Any]:
    living = {str(system.processes[name].pid) for name in WORKERS}
    known = Execution.objects.exclude(worker_id="").values_list("worker_id", flat=True).distinct()
    workers = [one for one in known if one.split(":")[1] in living]
    return {"returned_at": returned_at, "workers": workers}


def test_after_workers_beats_and_redis_were_killed_the_ledgers_agree(
    system: System, nemesis: Nemesis
) -> None:
    system.beat("beat-2")
    system.worker("worker-2", threads=THREADS)
    system.wait_ready()
    many = workload()
    system.until(is_under_load, what="it is under load")

    for name in WORKERS:
        system.processes[name].kill()
    for name in WORKERS:
        system.worker(name)
    wait_for_order(system)

    system.until(is_under_load, what="it is under load")
    for name in BEATS:
        system.processes[name].kill()
    for name in BEATS:
        system.beat(name)
    system.wait_ready()
    wait_for_order(system)

    system.until(is_under_load, what="it is under load")
    system.redis_server().kill()
    system.redis_server()
    wait_for_order(system)

    ended = datetime.now(UTC)
    wait_for_fires(system, many, until=ended)
    ids = [one.id for one in many]
    ran = Execution.objects.filter(schedule_id__in=ids)
    system.until(
        lambda: not ran.exclude(status__in=["completed", "failed"]).exists(),
        what="all have ended",
        seconds=RETURN_SECONDS,
    )
    nemesis.found(wrong_fires(many, until=ended))
    assert ran.count() == sum(len(fires(one)) for one in many)
    hopeless = ran.filter(schedule_id=many[3].id)
    assert set(hopeless.values_list("status", "attempt")) == {("failed", 6)}
    assert set(ran.exclude(schedule_id=many[3].id).values_list("status", flat=True)) == {
        "completed"
    }
    for name in (WORKERS[1], BEATS[1]):
        system.processes[name].stop()
