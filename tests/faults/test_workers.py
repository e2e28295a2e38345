"""Workers that are killed, stopped and woken, and handlers that poison theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pytest_django import DjangoDbBlocker

from executions_app import models_presence
from executions_app.models import Event, Execution
from scheduler_app import envelopes
from tests.faults.bare import bare_system
from tests.faults.conftest import THREADS
from tests.faults.lapsing import lapse
from tests.faults.nemesis import Nemesis
from tests.journeys import scenario
from tests.journeys.scenario import begun, errors, one, reaches, retries, run
from tests.processes import SHORT_LEASE, Process, System

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


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A beat; each test begins with the worker that it needs."""
    folder = tmp_path_factory.mktemp("workers")
    with django_db_blocker.unblock(), bare_system(folder) as system:
        system.beat()
        yield system


def usual_worker(system: System) -> Process:
    worker = system.worker(threads=THREADS)
    system.wait_ready()
    return worker


def test_what_a_killed_worker_ran_is_tried_again_and_what_it_had_not_begun_is_not_charged(
    system: System, gate: Path
) -> None:
    if "worker" in system.processes:
        system.processes["worker"].stop()
    doomed = system.worker("doomed", threads=THREADS, **SHORT_LEASE)
    running = [run({"until": str(gate)}, retry_policy=retries(5)) for _ in range(THREADS)]
    for execution in running:
        system.until(lambda each=execution: begun(system, each), what="it has begun")  # type: ignore[misc]
    waiting = [run() for _ in range(2 * THREADS)]

    doomed.kill()
    gate.touch()
    usual_worker(system)

    for execution in running:
        done, lost = reaches(system, execution, "completed"), errors(execution)
        assert {record.error_class for record in lost} == {"lost"}
        # A doomed worker that was off its processor for as long as a lease has lost it twice.
        assert done.attempt == len(lost) + 1
        assert 2 <= begun(system, execution) <= done.attempt
    for execution in waiting:
        assert reaches(system, execution, "completed").attempt == 1


@pytest.mark.long  # a journey does it with a slice of three
def test_a_job_that_kills_its_worker_in_a_slice_of_fifty_leaves_its_neighbours_untouched(
    system: System, tmp_path: Path
) -> None:
    usual_worker(system).stop()
    deadly = run({"poison": "os_exit"}, retry_policy=retries(1))
    neighbours = [run() for _ in range(49)]
    system.broker.delete("normal")
    system.broker.lpush("normal", *envelopes.build([[deadly, *neighbours]], queue="normal"))

    # One thread: what runs beside it in another thread of the same process does die with it.
    single = system.worker("single")

    dead = ends(system, deadly)
    for execution in neighbours:
        assert reaches(system, execution, "completed").attempt == 1
        assert errors(execution) == []
    single.stop()
    assert (dead.attempt, dead.outcome, dead.travels_alone) == (2, "lost", True)


def test_a_job_that_kills_its_worker_at_every_attempt_is_buried_after_three(
    system: System,
) -> None:
    usual_worker(system)
    deadly = run({"poison": "os_exit"}, retry_policy=retries(9))

    dead = ends(system, deadly)

    assert (dead.attempt, dead.outcome) == (3, "lost")
    assert scenario.letter(deadly).error_class == "lost"
    reaches(system, run(), "completed")


def ends(system: System, deadly: UUID) -> Execution:
    """How what kills its workers ends; the leases of the dead run out meanwhile."""

    def look() -> bool:
        lapse()
        return one(deadly).status == "failed"

    system.until(look, what="it is buried")
    return one(deadly)


@pytest.mark.long  # to its neighbours and the rescuer it is what `os_exit` is
def test_a_segmentation_fault_costs_its_own_attempt(system: System) -> None:
    worker = usual_worker(system)
    deaths = worker.deaths
    deadly = run({"poison": "segfault"})

    dead = ends(system, deadly)

    assert (dead.attempt, dead.outcome) == (1, "lost")
    assert worker.deaths == deaths + 1


@pytest.mark.long  # the next one has more of the same
def test_a_worker_woken_after_its_lease_writes_nothing(system: System, gate: Path) -> None:
    zombie = usual_worker(system)
    execution = run({"until": str(gate)}, retry_policy=retries(1))
    system.until(lambda: begun(system, execution), what="it has begun")
    zombie.pause()
    second = system.worker("second")

    gate.touch()
    taken_over = reaches(system, execution, "completed")
    told = Event.objects.filter(execution_id=execution, type__startswith="execution:")
    told_before = told.count()
    wake(system, zombie, execution)

    second.stop()
    now = one(execution)
    assert taken_over.worker_id.split(":")[1] == str(second.pid)
    assert (now.attempt, now.completed_at) == (2, taken_over.completed_at)
    assert (now.worker_id, now.updated_at) == (taken_over.worker_id, taken_over.updated_at)
    assert told.count() == told_before


def test_a_worker_woken_while_another_runs_its_execution_writes_nothing(
    system: System, gate: Path
) -> None:
    zombie = usual_worker(system)
    execution = run({"until": str(gate)}, retry_policy=retries(1))
    system.until(lambda: begun(system, execution), what="it has begun")
    zombie.pause()
    second = system.worker("second")

    def is_taken_over() -> bool:
        lapse()
        return begun(system, execution) == 2

    system.until(is_taken_over, what="another has taken it over")
    gate.symlink_to(f"/proc/self/task/{zombie.pid}")  # which is there for the zombie only
    wake(system, zombie, execution)
    gate.unlink()
    gate.touch()

    done = reaches(system, execution, "completed")
    second.stop()
    assert (done.attempt, done.worker_id.split(":")[1]) == (2, str(second.pid))
    (ended,) = after_the_beginning(system, execution, second.pid)
    assert ended["what"] == "ended"
    assert done.completed_at is not None
    assert done.completed_at.timestamp() >= ended["at"]


GIVES_WAY = (b"belongs to another worker now", b"The lease ended before the outcome was stored")


def wake(system: System, zombie: Process, execution: UUID) -> None:
    """Let it go on, and give way to whoever has its execution now."""
    said_before = zombie.log.stat().st_size
    rows = models_presence.Process.objects.filter(pid=zombie.pid)
    refused_before = rows.get().refused_writes
    zombie.resume()
    system.until(
        lambda: after_the_beginning(system, execution, zombie.pid), what="the zombie's run ended"
    )
    system.until(
        lambda: any(words in zombie.log.read_bytes()[said_before:] for words in GIVES_WAY),
        what="the zombie gives way",
    )
    refused = rows.filter(refused_writes__gt=refused_before)
    system.until(refused.exists, what="it has said what was refused to it")


def after_the_beginning(system: System, execution: UUID, pid: int) -> list[dict[str, Any]]:
    """What the handler in this process wrote down of it once it had begun."""
    return [
        entry
        for entry in system.entries()
        if (entry["execution"], entry["pid"]) == (str(execution), pid) and entry["what"] != "began"
    ]


@pytest.mark.parametrize("poison", SURVIVED)
def test_a_poisonous_handler_is_an_outcome_and_its_worker_serves_on(
    system: System, gate: Path, nemesis: Nemesis, poison: str
) -> None:
    worker = usual_worker(system)
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
