"""Processes that are told to stop: what runs may end, what waits goes to others at once."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psutil
import pytest
from pytest_django import DjangoDbBlocker

from agents_app.handlers import orphans
from executions_app.models import Execution
from tests.faults.conftest import THREADS
from tests.faults.leaving import (
    exit_status,
    has_let_go_of_the_database,
    leave,
    says,
    tell,
    tell_group,
)
from tests.faults.nemesis import Nemesis
from tests.journeys import scenario
from tests.journeys.scenario import begun, errors, one, reaches, retries, run
from tests.processes import Process, System

pytestmark = pytest.mark.fault

LONG: Final = pytest.mark.long
DRAIN_SECONDS: Final = 1.0
numbers: Final = itertools.count(1)
# A lease that would end long after the test: nobody waits for that.
UNDER_A_LEASE: Final = 45.0
# What heard is given to another at once; nothing is said of the short form's time.
AT_ONCE: Final = timedelta(seconds=5)
IN_ITS_TIME: Final = timedelta.max
SETTINGS: Final = {
    "LEASE_SECONDS": "60",
    "HEARTBEAT_SECONDS": "5",
    "DRAIN_SECONDS": str(DRAIN_SECONDS),
    "WORKER_MAX_PROCESSES": "1",
}


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("drain")
    with (
        django_db_blocker.unblock(),
        scenario.running(folder, threads=THREADS, **SETTINGS) as system,
    ):
        yield system


@pytest.fixture
def system(living_system: System, nemesis: Nemesis) -> Iterator[System]:
    """The module's system; each test starts the workers that it needs."""
    nemesis.watch(living_system)
    yield living_system
    living_system.beat()
    living_system.wait_ready()
    scenario.clear(living_system)
    nemesis.look(living_system)


@pytest.fixture
def leaver(system: System) -> Callable[..., Process]:
    """The only worker: what is put into the queues is its own."""

    def start(pool: str = "threads", **settings: str) -> Process:
        nobody_works(system)
        name = f"leaver-{next(numbers)}"  # each keeps its log, and what was done to it
        before = system.environment
        system.environment = {**before, **settings}
        worker = system.worker(name, threads=2, pool=pool)
        system.environment = before
        system.wait_ready()
        return worker

    return start


def nobody_works(system: System) -> None:
    worker = system.processes["worker"]
    if worker.is_alive():
        assert leave(system, worker) == 0


def shell(script: str) -> UUID:
    """An execution of a program."""
    config: dict[str, Any] = {
        "task_type": "shell_command",
        "task_config": {"command": ["sh", "-c", script]},
    }
    return run(**config)


def programs(execution: UUID) -> list[psutil.Process]:
    """What runs of an execution, whoever started it."""
    return list(orphans._marked(str(execution)))


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=LONG)])
def test_a_worker_that_is_told_to_stop_ends_what_it_runs_and_begins_nothing_more(
    system: System, leaver: Callable[..., Process], gate: Path, pool: str
) -> None:
    worker = leaver(pool, DRAIN_SECONDS="60")
    running = [run({"until": str(gate)}) for _ in range(2)]
    for execution in running:
        reaches(system, execution, "running")
        system.until(lambda each=execution: begun(system, each), what="it has begun")  # type: ignore[misc]
    waiting = [run() for _ in range(6)]

    tell(worker)
    system.until(lambda: says(worker, "Warm shutdown"), what="it has heard")
    gate.touch()

    assert exit_status(system, worker) == 0
    for execution in running:
        assert (one(execution).status, one(execution).attempt) == ("completed", 1)
    assert {(one(each).status, one(each).attempt) for each in waiting} == {("queued", 0)}
    system.worker(threads=THREADS)
    system.wait_ready()
    for execution in waiting:
        assert reaches(system, execution, "completed", seconds=UNDER_A_LEASE).attempt == 1


@pytest.mark.parametrize(
    ("pool", "most_later"),
    [
        pytest.param("threads", AT_ONCE, id="threads", marks=LONG),
        pytest.param("prefork", IN_ITS_TIME, id="prefork"),
    ],
)
def test_what_still_runs_after_the_limit_is_tried_by_another_worker_at_once(
    system: System, leaver: Callable[..., Process], gate: Path, pool: str, most_later: timedelta
) -> None:
    worker = leaver(pool)
    execution = run({"until": str(gate)}, retry_policy=retries(1))
    reaches(system, execution, "running")
    system.until(lambda: begun(system, execution), what="it has begun")
    system.worker(threads=THREADS)
    system.wait_ready()

    tell(worker)
    second = system.until(
        lambda: Execution.objects.filter(id=execution, status="running", attempt=2).first(),
        what="another has begun it",
        seconds=UNDER_A_LEASE,
    )

    assert exit_status(system, worker) == 0
    assert second.worker_id.split(":")[1] == str(system.processes["worker"].pid)
    (lost,) = errors(execution)
    assert (lost.error_class, lost.exception_type) == ("lost", "WorkerStopped")
    assert second.started_at is not None
    assert second.started_at - lost.ended_at < most_later
    system.until(lambda: begun(system, execution) == 2, what="it has begun again")
    told = [each for each in system.entries() if each["execution"] == str(execution)]
    assert [each["what"] for each in sorted(told, key=lambda each: each["at"])] == [
        "began",
        "raised",
        "began",
    ]
    gate.touch()
    reaches(system, execution, "completed")


@LONG
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_what_does_not_hear_that_it_should_stop_keeps_nobody(
    system: System, leaver: Callable[..., Process], pool: str
) -> None:
    worker = leaver(pool)
    deaf = run({"poison": "deaf"})
    system.until(lambda: begun(system, deaf), what="it has begun")

    tell(worker)

    assert exit_status(system, worker, seconds=UNDER_A_LEASE) == 0
    has_let_go_of_the_database(system)
    assert (one(deaf).status, one(deaf).outcome) == ("failed", "lost")


def ignores(process: psutil.Process, number: signal.Signals) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(mask, 16) >> (number - 1) & 1)


@LONG
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
def test_told_once_more_it_ends_at_once(
    system: System, leaver: Callable[..., Process], gate: Path, number: signal.Signals
) -> None:
    worker = leaver("prefork", DRAIN_SECONDS="600")
    execution = run({"until": str(gate)}, retry_policy=retries(1))
    system.until(lambda: begun(system, execution), what="it has begun")
    program = shell("sleep 600")
    running = system.until(lambda: programs(program), what="a program runs")
    assert not any(ignores(each, signal.SIGTERM) for each in running)
    children = psutil.Process(worker.pid).children()

    for child in children:
        child.suspend()  # on a busy machine a child may hear of both at one moment
    tell(worker)
    system.until(lambda: says(worker, "Warm shutdown"), what="it has heard")
    tell(worker, number)
    system.until(lambda: says(worker, "Warm shutdown", times=2), what="it has heard again")
    for child in children:
        child.resume()

    assert exit_status(system, worker, seconds=UNDER_A_LEASE) == 0
    has_let_go_of_the_database(system)
    assert (one(execution).outcome, one(program).outcome) == ("lost", "lost")
    assert programs(program) == []
    gate.touch()
    system.worker(threads=THREADS)
    assert reaches(system, execution, "completed").attempt == 2


@LONG
def test_a_whole_group_may_be_told_to_stop(
    system: System, leaver: Callable[..., Process], gate: Path
) -> None:
    worker = leaver("prefork", DRAIN_SECONDS="60")
    execution = run({"until": str(gate)})
    system.until(lambda: begun(system, execution), what="a child has begun it")

    tell_group(worker)
    system.until(lambda: says(worker, "Warm shutdown"), what="it has heard")
    gate.touch()

    assert exit_status(system, worker) == 0
    has_let_go_of_the_database(system)
    assert (one(execution).status, one(execution).attempt) == ("completed", 1)


@LONG
def test_programs_end_with_their_worker_and_those_that_wait_for_a_place_go_back_uncharged(
    system: System, leaver: Callable[..., Process], tmp_path: Path
) -> None:
    worker = leaver(DRAIN_SECONDS="3")
    began = tmp_path / "began"
    long = shell(f"touch {began}; sleep 600 & sleep 600")
    system.until(began.exists, what="the program runs")
    waiting = shell("true")
    reaches(system, waiting, "running")
    assert programs(long)

    tell(worker)
    reaches(system, waiting, "queued", seconds=UNDER_A_LEASE)
    running_meanwhile = one(long).status

    assert exit_status(system, worker, seconds=UNDER_A_LEASE) == 0
    assert running_meanwhile == "running"
    assert programs(long) == []
    assert one(waiting).attempt == 0
    assert [each.error_class for each in errors(long)] == ["lost"]
    system.worker(threads=THREADS)
    assert reaches(system, waiting, "completed").attempt == 1
