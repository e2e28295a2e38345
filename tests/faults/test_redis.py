"""A Redis that forgets everything, and messages that come more often than sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from executions_app.models import Execution
from scheduler_app import envelopes
from scheduler_app import system as switch
from tests.faults.conftest import THREADS
from tests.journeys.scenario import begun, reaches, run, schedule
from tests.journeys.test_dispatch import completed
from tests.processes import System

pytestmark = pytest.mark.fault


def times_noticed(system: System) -> int:
    """How often a beat saw that Redis had forgotten, and had all queued work sent again."""
    return system.beat().log.read_text().count("Redis was restarted, emptied or set back")


def test_a_redis_that_lost_fifty_messages_costs_no_execution_and_no_attempt(
    system: System, gate: Path
) -> None:
    running = [run({"until": str(gate)}) for _ in range(THREADS)]
    for execution in running:
        reaches(system, execution, "running")
    queued = [run() for _ in range(50)]
    redis = system.redis_server()
    assert system.broker.llen("normal") >= 50 - THREADS

    noticed = times_noticed(system)
    redis.kill()
    system.redis_server()
    gate.touch()

    for execution in [*running, *queued]:
        assert reaches(system, execution, "completed").attempt == 1
        assert begun(system, execution) == 1
    assert times_noticed(system) == noticed + 1


def test_what_is_due_while_redis_is_away_is_recorded_and_runs_when_it_is_back(
    system: System,
) -> None:
    system.redis_server().kill()
    system.until(lambda: switch.read().status == "error", what="the system says so")
    at = datetime.now(UTC) + timedelta(seconds=0.3)
    once = schedule(schedule_type="one_time", schedule_config={"run_at": at.isoformat()})

    recorded = system.until(
        lambda: Execution.objects.filter(schedule_id=once.id).first(), what="it is recorded"
    )
    system.redis_server()

    system.until(lambda: completed(once), what="it ran")
    system.until(lambda: switch.read().status != "error", what="the error is over")
    assert recorded.status == "queued"
    assert completed(once)[0].attempt == 1


def test_a_flushed_redis_is_noticed_without_a_restart(system: System, gate: Path) -> None:
    busy = [run({"until": str(gate)}) for _ in range(THREADS)]
    for execution in busy:
        reaches(system, execution, "running")
    waiting = [run() for _ in range(5)]

    noticed = times_noticed(system)
    system.broker.flushall()
    gate.touch()

    for execution in [*busy, *waiting]:
        assert reaches(system, execution, "completed").attempt == 1
    assert times_noticed(system) == noticed + 1


def test_every_message_five_times_is_every_execution_once(system: System, gate: Path) -> None:
    busy = [run({"until": str(gate)}) for _ in range(THREADS)]
    for execution in busy:
        reaches(system, execution, "running")
    many = [run() for _ in range(20)]
    for execution in many:
        copies = envelopes.build([[execution]] * 4, queue="normal")
        system.broker.lpush("normal", *copies)

    gate.touch()

    for execution in many:
        assert reaches(system, execution, "completed").attempt == 1
    system.until(lambda: not system.broker.llen("normal"), what="all messages were taken")
    reaches(system, run(), "completed")
    assert {begun(system, execution) for execution in many} == {1}
