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
from executions_app.models import Execution, Step
from scheduler_app import schedules
from tests.fakes.endpoint_server import Endpoints
from tests.fakes.model_server import ModelServer
from tests.faults import cycling
from tests.faults.conftest import THREADS
from tests.faults.nemesis import Nemesis
from tests.faults.stormy import Stormy, stormy
from tests.journeys import ai
from tests.journeys.scenario import errors, retries, schedule
from tests.processes import QUICK, SHORT_LEASE, Process, System

pytestmark = [pytest.mark.fault, pytest.mark.long]  # `test_workers` kills each once, in CI too

KILLS = 20
MANY = 40  # attempts: no execution runs out of them
# A call of half a second, renewed leases included; the lease of a dead worker; the rescuer's next
# round; and two seconds, twice over for a slow machine.
TAKEN_BACK = timedelta(
    seconds=0.5 + float(SHORT_LEASE["LEASE_SECONDS"]) + float(QUICK["RESCUE_SECONDS"])
)
MOST_LATER = timedelta(seconds=4)
TRIED_AGAIN = timedelta(seconds=60)  # where no message went with its worker


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    endpoints: Endpoints,
    model: ModelServer,
) -> Iterator[System]:
    """A system whose workers may call this machine, and whose AI schedules have a model."""
    folder = tmp_path_factory.mktemp("killing")
    with (
        django_db_blocker.unblock(),
        ai.running(folder, endpoints, model, threads=THREADS, **SHORT_LEASE) as system,
    ):
        yield system


@pytest.fixture
def storm(tmp_path: Path, seed: int) -> Iterator[Stormy]:
    with stormy(tmp_path, seed=seed) as server:
        yield server


def calls_of(storm: Stormy, count: int) -> list[UUID]:
    """So many executions by hand, of half a second each."""
    words: dict[str, Any] = {
        "task_type": "http_request",
        "task_config": {"url": f"{storm.url}/slow"},
    }
    one = schedule(**words, overlap_policy="allow", retry_policy=retries(MANY))
    return [schedules.trigger(one, actor=SYSTEM) for _ in range(count)]


def ongoing(storm: Stormy) -> list[str]:
    """The executions whose call is being answered just now."""
    found = storm.calls().items()
    return [key for key, calls in found if any(one.ended_at is None for one in calls)]


def wait_until_ended(system: System, ids: list[UUID]) -> None:
    left = Execution.objects.filter(id__in=ids).exclude(status__in=["completed", "failed"])
    system.until(lambda: not left.exists(), what="all have ended", seconds=90)


def unaccounted(storm: Stormy, ids: list[UUID]) -> Iterator[str]:
    """Executions of which rows and ledger tell different things."""
    calls = storm.calls()
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


def tried_again_late(ids: list[UUID]) -> Iterator[str]:
    """Attempts that began long after the one before them was taken back."""
    for one in Execution.objects.filter(id__in=ids):
        lost = errors(one.id)
        begun = {each.attempt: each.started_at for each in lost} | {one.attempt: one.started_at}
        for each in lost:
            then = begun.get(each.attempt + 1)
            if then is not None and then - each.ended_at > TRIED_AGAIN:
                yield f"#{one.number}: attempt {each.attempt + 1} began {then - each.ended_at} late"


def test_killed_children_cost_their_own_attempts_and_their_parent_serves_on(
    system: System, storm: Stormy, nemesis: Nemesis
) -> None:
    system.worker().stop()
    parent = system.worker("process", pool="prefork", threads=2)
    pid = parent.pid
    ids: list[UUID] = []

    for _ in range(KILLS):
        ids += calls_of(storm, 4)
        kill_a_busy_child(system, storm, nemesis, parent)
    wait_until_ended(system, ids)

    survived = (parent.is_alive(), parent.pid, parent.deaths) == (True, pid, 0)
    parent.stop()
    assert survived
    nemesis.found([*unaccounted(storm, ids), *tried_again_late(ids)])


def kill_a_busy_child(system: System, storm: Stormy, nemesis: Nemesis, parent: Process) -> None:
    system.until(lambda: ongoing(storm), what="a call is under way", seconds=60)
    children = psutil.Process(parent.pid).children()
    os.kill(nemesis.chance.choice(children).pid, signal.SIGKILL)
    nemesis.strikes("child killed")
    known = {one.pid for one in children}
    system.until(
        lambda: {one.pid for one in psutil.Process(parent.pid).children()} - known,
        what="another child was started",
    )


def test_workers_killed_with_all_they_hold_lose_nothing_and_leave_nothing_queued(
    system: System, storm: Stormy, endpoints: Endpoints, model: ModelServer, nemesis: Nemesis
) -> None:
    ids: list[UUID] = []
    cycles: list[UUID] = []
    cycling.script(endpoints, model)
    asleep = nemesis.chance.sample(range(KILLS), k=(KILLS + 1) // 2)
    for number in range(KILLS):
        worker = system.worker(threads=THREADS)
        system.wait_ready()
        gate = cycling.hold_next(endpoints, nemesis.chance.choice(cycling.OF_THE_DIAMOND))
        cycles.append(ai.run(retry_policy=retries(MANY)))
        system.until(lambda: cycling.is_under_way(endpoints), what="a step is under way")
        ids += calls_of(storm, 2 * THREADS)
        system.until(lambda: ongoing(storm), what="a call is under way")
        if number in asleep:
            worker.pause()  # what Redis hands out now is in a socket that nobody will ever read
            ids += calls_of(storm, THREADS)
        worker.kill()
        gate.set()

    system.worker(threads=THREADS)
    wait_until_ended(system, [*ids, *cycles])
    tries = Step.objects.filter(execution_id__in=cycles, attempt__gt=1)
    assert sum(one.attempt - 1 for one in tries) >= KILLS // 2
    nemesis.found(
        [
            *unaccounted(storm, ids),
            *cycling.unfinished(cycles),
            *cycling.contradictions(endpoints, cycles),
        ]
    )
