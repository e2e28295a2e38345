"""The children of a prefork worker: one that is killed, and one that has to be."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from tests.faults.bare import bare_system
from tests.faults.lapsing import lapse, lives
from tests.faults.nemesis import Nemesis
from tests.journeys import scenario
from tests.journeys.scenario import begun, errors, reaches, retries, run
from tests.processes import System

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """One beat, and one worker with two children."""
    folder = tmp_path_factory.mktemp("children")
    with django_db_blocker.unblock(), bare_system(folder) as system:
        system.beat()
        system.worker("process", pool="prefork", threads=2)
        system.wait_ready()
        yield system


@pytest.fixture
def system(living_system: System, nemesis: Nemesis) -> Iterator[System]:
    nemesis.watch(living_system)
    yield living_system
    scenario.clear(living_system)
    nemesis.look(living_system)


def test_a_killed_child_of_a_prefork_worker_costs_one_attempt_and_its_parent_serves_on(
    system: System, gate: Path, nemesis: Nemesis
) -> None:
    parent = system.worker("process", pool="prefork")
    execution = run({"until": str(gate)}, retry_policy=retries(1))
    system.until(lambda: begun(system, execution), what="a child runs it")
    child = system.entries()[-1]["pid"]

    os.kill(child, signal.SIGKILL)
    nemesis.strikes("child killed")
    gate.touch()
    system.until(lambda: not lives(child), what="it is gone")
    lapse()

    done = reaches(system, execution, "completed")
    assert child != parent.pid
    assert (done.attempt, parent.is_alive(), parent.deaths) == (2, True, 0)
    assert [record.error_class for record in errors(execution)] == ["lost"]


def test_a_child_that_has_taken_too_much_memory_is_replaced_and_what_it_was_to_do_is_not_lost(
    system: System, nemesis: Nemesis
) -> None:
    system.worker("process", pool="prefork").stop()
    small = system.worker("small", pool="prefork", threads=2, WORKER_MAX_MEMORY_MB="1")
    system.wait_ready()

    alone = [reaches(system, run(), "completed") for _ in range(4)]
    ran = {str(each.id) for each in alone}
    children = {entry["pid"] for entry in system.entries() if entry["execution"] in ran}
    together = [run() for _ in range(6)]
    done = [*alone, *(reaches(system, each, "completed") for each in together)]

    nemesis.strikes("child replaced", times=len(children))
    assert len(children) > 2  # there are never more than two at once
    assert {each.attempt for each in done} == {1}
    assert small.deaths == 0
    small.stop()
    system.forget("small")


def test_what_does_not_stop_after_its_time_limit_loses_its_process_and_nothing_else(
    system: System, nemesis: Nemesis
) -> None:
    parent = system.worker("process", pool="prefork")

    nemesis.strikes("deaf")
    deaf = reaches(system, run({"poison": "deaf"}, timeout_ms=500), "failed")
    child = system.entries()[-1]["pid"]
    system.until(lambda: not lives(child), what="its process is gone")
    next_one = reaches(system, run(), "completed")

    assert (deaf.outcome, parent.deaths, next_one.attempt) == ("timeout", 0, 1)
    assert "its process was ended" in errors(deaf.id)[0].message
