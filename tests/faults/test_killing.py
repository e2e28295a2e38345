"""Workers killed over and over amid their work, seen from the other side of their calls."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from pytest_django import DjangoDbBlocker

from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from tests.faults.conftest import THREADS
from tests.faults.nemesis import Nemesis
from tests.faults.stormy import Stormy, stormy
from tests.journeys import scenario
from tests.journeys.scenario import errors, retries, schedule
from tests.processes import QUICK, Process, System

pytestmark = [pytest.mark.fault, pytest.mark.long]  # `test_workers` kills each once, in CI too

KILLS = 20
MANY = 40  # attempts: no execution runs out of them
# A call of half a second, renewed leases included; the lease of a dead worker; the rescuer's next
# round; and two seconds, twice over for a slow machine.
TAKEN_BACK = timedelta(seconds=0.5 + float(QUICK["LEASE_SECONDS"]) + float(QUICK["RESCUE_SECONDS"]))
MOST_LATER = timedelta(seconds=4)


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A system whose workers may call this machine."""
    folder = tmp_path_factory.mktemp("killing")
    allow = {"OUTBOUND_ALLOW": "127.0.0.1"}
    with django_db_blocker.unblock(), scenario.running(folder, threads=THREADS, **allow) as system:
        yield system


@pytest.fixture
def endpoints(tmp_path: Path, seed: int) -> Iterator[Stormy]:
    with stormy(tmp_path, seed=seed) as server:
        yield server


def calls_of(endpoints: Stormy, count: int) -> list[UUID]:
    """So many executions by hand, of half a second each."""
    words: dict[str, Any] = {
        "task_type": "http_request",
        "task_config": {"url": f"{endpoints.url}/slow"},
    }
    one = schedule(**words, overlap_policy="allow", retry_policy=retries(MANY))
    return [schedules.trigger(one, actor=SYSTEM) for _ in range(count)]


def ongoing(endpoints: Stormy) -> list[str]:
    """The executions whose call is being answered just now."""
    found = endpoints.calls().items()
    return [key for key, calls in found if any(one.ended_at is None for one in calls)]


def wait_until_ended(system: System, ids: list[UUID]) -> None:
    left = Execution.objects.filter(id__in=ids).exclude(status__in=["completed", "failed"])
    system.until(lambda: not left.exists(), what="all have ended", seconds=90)


def unaccounted(endpoints: Stormy, ids: list[UUID]) -> Iterator[str]:
    """Executions of which rows and ledger tell different things."""
    calls = endpoints.calls()
    for one in Execution.objects.filter(id__in=ids):
        seen, lost = calls[str(one.id)], [each.error_class for each in errors(one.id)]
        yield from taken_back_late(one)
        if set(lost) - {"lost"}:
            yield f"#{one.number} failed as {lost}"
        if one.status != "completed" and len(lost) < 3:
            yield f"#{one.number} is {one.status} after {len(lost)} losses"
        if len(seen) > one.attempt or {each.attempt for each in seen} - set(range(MANY)):
            yield f"#{one.number} was tried {one.attempt} times and called {len(seen)} times"
        if one.status == "completed" and not any(each.was_good for each in seen):
            yield f"#{one.number} is completed and was never answered"


def taken_back_late(one: Execution) -> Iterator[str]:
    for each in errors(one.id):
        assert each.started_at is not None
        passed = each.created_at - each.started_at
        if passed > TAKEN_BACK + MOST_LATER:
            yield f"#{one.number}: what its worker had begun was taken back after {passed}"


def test_killed_children_cost_their_own_attempts_and_their_parent_serves_on(
    system: System, endpoints: Stormy, nemesis: Nemesis
) -> None:
    system.worker().stop()
    parent = system.worker("process", pool="prefork", threads=2)
    pid = parent.pid
    ids: list[UUID] = []

    for _ in range(KILLS):
        ids += calls_of(endpoints, 4)
        kill_a_busy_child(system, endpoints, nemesis, parent)
    wait_until_ended(system, ids)

    survived = (parent.is_alive(), parent.pid, parent.deaths) == (True, pid, 0)
    parent.stop()
    assert survived
    nemesis.found(unaccounted(endpoints, ids))


def kill_a_busy_child(system: System, endpoints: Stormy, nemesis: Nemesis, parent: Process) -> None:
    system.until(lambda: ongoing(endpoints), what="a call is under way", seconds=60)
    children = psutil.Process(parent.pid).children()
    os.kill(nemesis.chance.choice(children).pid, signal.SIGKILL)
    nemesis.strikes("child killed")
    known = {one.pid for one in children}
    system.until(
        lambda: {one.pid for one in psutil.Process(parent.pid).children()} - known,
        what="another child was started",
    )


def test_workers_killed_with_all_they_hold_lose_nothing_and_leave_nothing_queued(
    system: System, endpoints: Stormy, nemesis: Nemesis
) -> None:
    ids: list[UUID] = []
    asleep = nemesis.chance.sample(range(KILLS), k=(KILLS + 1) // 2)
    for number in range(KILLS):
        worker = system.worker(threads=THREADS)
        system.wait_ready()
        ids += calls_of(endpoints, 2 * THREADS)
        system.until(lambda: ongoing(endpoints), what="a call is under way")
        if number in asleep:
            worker.pause()  # what Redis hands out now is in a socket that nobody will ever read
            ids += calls_of(endpoints, THREADS)
        worker.kill()

    system.worker(threads=THREADS)
    wait_until_ended(system, ids)
    nemesis.found(unaccounted(endpoints, ids))
