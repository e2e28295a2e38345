"""Workers that are killed, stopped and woken, and handlers that poison theirs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from executions_app.models import Event
from tests.faults.conftest import THREADS
from tests.journeys import scenario
from tests.journeys.scenario import begun, errors, one, reaches, retries, run
from tests.processes import System

pytestmark = pytest.mark.fault

SURVIVED = {
    "memory": ("failed", "resource"),
    "exit": ("failed", "permanent"),
    "recursion": ("failed", "resource"),
    "unstorable": ("completed", None),
    "huge": ("completed", None),
}


def test_what_a_killed_worker_ran_is_tried_again_and_what_it_had_not_begun_is_not_charged(
    system: System, gate: Path
) -> None:
    worker = system.worker()
    running = [run({"until": str(gate)}, retry_policy=retries(1)) for _ in range(THREADS)]
    for execution in running:
        reaches(system, execution, "running")
    waiting = [run() for _ in range(2 * THREADS)]

    worker.kill()
    gate.touch()
    system.worker()

    for execution in running:
        assert reaches(system, execution, "completed").attempt == 2
        assert [record.error_class for record in errors(execution)] == ["lost"]
        assert begun(system, execution) == 2
    for execution in waiting:
        assert reaches(system, execution, "completed").attempt == 1


def test_a_worker_killed_at_every_attempt_ends_in_the_dead_letters(system: System) -> None:
    deadly = run({"poison": "os_exit"}, retry_policy=retries(1))

    dead = reaches(system, deadly, "failed", seconds=60)

    assert (dead.attempt, dead.outcome) == (2, "lost")
    assert scenario.letter(deadly).error_class == "lost"
    reaches(system, run(), "completed")


def test_a_segmentation_fault_costs_its_own_attempt(system: System) -> None:
    worker = system.worker()
    deaths = worker.deaths
    deadly = run({"poison": "segfault"})

    dead = reaches(system, deadly, "failed")

    assert (dead.attempt, dead.outcome) == (1, "lost")
    assert worker.deaths == deaths + 1


def test_a_worker_woken_after_its_lease_writes_nothing(system: System, gate: Path) -> None:
    zombie = system.worker()
    execution = run({"until": str(gate)}, retry_policy=retries(1))
    reaches(system, execution, "running")
    zombie.pause()
    second = system.worker("second")

    gate.touch()
    taken_over = reaches(system, execution, "completed")
    told = Event.objects.filter(execution_id=execution, type__startswith="execution:")
    told_before = told.count()
    zombie.resume()
    system.until(lambda: woken(system, execution, zombie.pid), what="the zombie's run ended")
    system.until(
        lambda: any(words in zombie.log.read_text() for words in GIVES_WAY),
        what="the zombie gives way",
    )

    second.stop()
    now = one(execution)
    assert taken_over.worker_id.split(":")[1] == str(second.pid)
    assert (now.attempt, now.completed_at) == (2, taken_over.completed_at)
    assert (now.worker_id, now.updated_at) == (taken_over.worker_id, taken_over.updated_at)
    assert told.count() == told_before


GIVES_WAY = ("belongs to another worker now", "The lease ended before the outcome was stored")


def woken(system: System, execution: object, pid: int) -> bool:
    return any(
        entry["execution"] == str(execution) and entry["pid"] == pid and entry["what"] != "began"
        for entry in system.entries()
    )


def test_a_killed_child_of_a_prefork_worker_costs_one_attempt_and_its_parent_serves_on(
    system: System, gate: Path
) -> None:
    system.worker().stop()
    parent = system.worker("process", pool="prefork", threads=2)
    execution = run({"until": str(gate)}, retry_policy=retries(1))
    system.until(lambda: begun(system, execution), what="a child runs it")
    child = system.entries()[-1]["pid"]

    os.kill(child, signal.SIGKILL)
    gate.touch()

    done = reaches(system, execution, "completed")
    survived = parent.is_alive()
    parent.stop()
    assert child != parent.pid
    assert (done.attempt, survived, parent.deaths) == (2, True, 0)
    assert [record.error_class for record in errors(execution)] == ["lost"]


def test_what_does_not_stop_after_its_time_limit_loses_its_process_and_nothing_else(
    system: System,
) -> None:
    system.worker().stop()
    parent = system.worker("process", pool="prefork", threads=2)

    deaf = reaches(system, run({"poison": "deaf"}, timeout_ms=500), "failed")
    child = system.entries()[-1]["pid"]
    system.until(lambda: not psutil.pid_exists(child), what="its process is gone")
    next_one = reaches(system, run(), "completed")

    parent.stop()
    assert (deaf.outcome, parent.deaths, next_one.attempt) == ("timeout", 0, 1)
    assert "its process was ended" in errors(deaf.id)[0].message


@pytest.mark.parametrize("poison", SURVIVED)
def test_a_poisonous_handler_is_an_outcome_and_its_worker_serves_on(
    system: System, gate: Path, poison: str
) -> None:
    worker = system.worker()
    pid = worker.pid
    neighbour = run({"until": str(gate)})
    reaches(system, neighbour, "running")

    poisonous = run({"poison": poison})
    status, error_class = SURVIVED[poison]
    ended = reaches(system, poisonous, status)
    gate.touch()

    assert reaches(system, neighbour, "completed").attempt == 1
    assert [record.error_class for record in errors(poisonous)] == [error_class] * bool(error_class)
    assert ended.result_truncated == (poison == "huge")
    assert (worker.is_alive(), worker.pid) == (True, pid)
