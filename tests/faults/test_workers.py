"""Workers that are killed, stopped and woken, and handlers that poison theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from executions_app.models import Event
from scheduler_app import envelopes
from tests.faults.conftest import THREADS
from tests.faults.nemesis import Nemesis
from tests.journeys import scenario
from tests.journeys.scenario import begun, errors, one, reaches, retries, run
from tests.processes import System

pytestmark = pytest.mark.fault

SURVIVED = {
    "memory": ("failed", "resource"),
    "allocation": ("failed", "resource"),
    "unpicklable": ("failed", "malformed"),
    "no_text": ("failed", "unknown"),
    "interrupt": ("failed", "permanent"),
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


@pytest.mark.long  # a journey does it with a slice of three
def test_a_job_that_kills_its_worker_in_a_slice_of_fifty_leaves_its_neighbours_untouched(
    system: System, tmp_path: Path
) -> None:
    system.worker().stop()
    deadly = run({"poison": "os_exit"}, retry_policy=retries(1))
    neighbours = [run() for _ in range(49)]
    system.broker.delete("normal")
    system.broker.lpush("normal", *envelopes.build([[deadly, *neighbours]], queue="normal"))

    # One thread: what runs beside it in another thread of the same process does die with it.
    single = system.worker("single")

    for execution in neighbours:
        assert reaches(system, execution, "completed", seconds=60).attempt == 1
        assert errors(execution) == []
    dead = reaches(system, deadly, "failed", seconds=60)
    single.stop()
    assert (dead.attempt, dead.outcome, dead.travels_alone) == (2, "lost", True)


def test_a_job_that_kills_its_worker_at_every_attempt_is_buried_after_three(
    system: System,
) -> None:
    deadly = run({"poison": "os_exit"}, retry_policy=retries(9))

    dead = reaches(system, deadly, "failed", seconds=60)

    assert (dead.attempt, dead.outcome) == (3, "lost")
    assert scenario.letter(deadly).error_class == "lost"
    reaches(system, run(), "completed")


@pytest.mark.long  # to its neighbours and the rescuer it is what `os_exit` is
def test_a_segmentation_fault_costs_its_own_attempt(system: System) -> None:
    worker = system.worker()
    deaths = worker.deaths
    deadly = run({"poison": "segfault"})

    dead = reaches(system, deadly, "failed")

    assert (dead.attempt, dead.outcome) == (1, "lost")
    assert worker.deaths == deaths + 1


@pytest.mark.long  # the next one has more of the same
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


def test_a_worker_woken_while_another_runs_its_execution_writes_nothing(system: System) -> None:
    zombie = system.worker()
    execution = run({"seconds": 2.0}, retry_policy=retries(1))
    reaches(system, execution, "running")
    zombie.pause()
    second = system.worker("second")
    system.until(lambda: begun(system, execution) == 2, what="another has taken it over")

    zombie.resume()
    system.until(lambda: woken(system, execution, zombie.pid), what="the zombie's run ended")
    system.until(
        lambda: any(words in zombie.log.read_text() for words in GIVES_WAY),
        what="the zombie gives way",
    )

    done = reaches(system, execution, "completed")
    second.stop()
    assert (done.attempt, done.worker_id.split(":")[1]) == (2, str(second.pid))
    ended = [each for each in system.entries() if each["execution"] == str(execution)][-1]
    assert (ended["what"], ended["pid"]) == ("ended", second.pid)
    assert done.completed_at is not None
    assert done.completed_at.timestamp() >= ended["at"]


GIVES_WAY = ("belongs to another worker now", "The lease ended before the outcome was stored")


def woken(system: System, execution: object, pid: int) -> bool:
    return any(
        entry["execution"] == str(execution) and entry["pid"] == pid and entry["what"] != "began"
        for entry in system.entries()
    )


@pytest.mark.parametrize("poison", SURVIVED)
def test_a_poisonous_handler_is_an_outcome_and_its_worker_serves_on(
    system: System, gate: Path, nemesis: Nemesis, poison: str
) -> None:
    worker = system.worker()
    pid = worker.pid
    neighbour = run({"until": str(gate)})
    reaches(system, neighbour, "running")

    poisonous = run({"poison": poison})
    nemesis.strikes(poison)
    status, error_class = SURVIVED[poison]
    ended = reaches(system, poisonous, status)
    gate.touch()

    assert reaches(system, neighbour, "completed").attempt == 1
    assert [record.error_class for record in errors(poisonous)] == [error_class] * bool(error_class)
    assert ended.result_truncated == (poison == "huge")
    assert (worker.is_alive(), worker.pid) == (True, pid)
