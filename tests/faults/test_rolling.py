"""Every process restarted, one after the other, under load: nothing is lost, doubled or late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from errors_app.models import ErrorRecord
from executions_app import clock
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app.models import Schedule
from tests.faults.leaving import exit_status, tell
from tests.faults.nemesis import Nemesis
from tests.faults.oracle import wrong_fires
from tests.faults.test_beats import wait_for_fires
from tests.journeys import scenario
from tests.journeys.scenario import every, schedule
from tests.processes import Process, System

pytestmark = pytest.mark.fault

THREADS: Final = 8
CHILDREN: Final = 4
POLICY: Final = {"overlap_policy": "allow", "catchup_policy": "all", "catchup_limit": 100}
SETTINGS: Final = {"LEASE_SECONDS": "60", "HEARTBEAT_SECONDS": "5", "DRAIN_SECONDS": "20"}
LATEST: Final = """
SELECT coalesce(max(started_at - due_at), interval '0') FROM task_executions
WHERE due_at >= %s AND due_at < %s
"""


@dataclass(frozen=True)
class Deployment:
    """How many of what, how often each of it is restarted, and how long nothing is before.

    Meanwhile so many schedules fire each second, and so many executions come by hand. Workers of
    `prefork` have children; with `jobs_of_seconds` one job in four seconds takes as long. Who is
    left while one is away can carry all of it: what waits for a place is not late by a restart.
    """

    workers: tuple[str, ...]
    beats: tuple[str, ...]
    rounds: int
    calm_seconds: float
    firing: int
    by_hand_per_second: int
    most_later: timedelta
    prefork: frozenset[str] = frozenset()
    jobs_of_seconds: float = 0.0


# Less than a lease: nothing was given up that had to be found again.
SHORT: Final = Deployment(
    ("worker", "worker-2"), ("beat", "beat-2"), 1, 2.0, 5, 10, timedelta(seconds=45)
)
LONG: Final = Deployment(
    ("worker", "worker-2", "worker-3"), ("beat", "beat-2"), 5, 10.0, 10, 20, timedelta(seconds=5)
)
MIXED: Final = replace(
    LONG,
    rounds=2,
    by_hand_per_second=10,
    prefork=frozenset({"worker-2", "worker-3"}),
    jobs_of_seconds=8.0,
)


@pytest.fixture
def system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory, nemesis: Nemesis
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("rolling")
    with (
        django_db_blocker.unblock(),
        scenario.running(folder, threads=THREADS, **SETTINGS) as system,
    ):
        nemesis.watch(system)
        yield system
        nemesis.look(system)


def start(system: System, name: str, deployment: Deployment) -> Process:
    if name in deployment.beats:
        return system.beat(name)
    if name in deployment.prefork:
        return system.worker(name, threads=CHILDREN, pool="prefork")
    return system.worker(name, threads=THREADS)


@contextmanager
def triggering(one: Schedule, *, per_second: float) -> Iterator[None]:
    """Somebody triggers it again and again, at a steady pace."""
    is_over = threading.Event()

    def trigger() -> None:
        try:
            while not is_over.wait(1 / per_second):
                schedules.trigger(one, actor=SYSTEM)
        finally:
            connection.close()

    thread = threading.Thread(target=trigger)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize(
    "deployment",
    [
        pytest.param(SHORT, id="each once"),
        pytest.param(LONG, id="each five times", marks=pytest.mark.long),
        pytest.param(MIXED, id="with children and long jobs", marks=pytest.mark.long),
    ],
)
def test_a_rolling_restart_loses_nothing_doubles_nothing_and_delays_little(
    system: System, nemesis: Nemesis, deployment: Deployment
) -> None:
    everybody = (*deployment.beats, *deployment.workers)
    for name in everybody:
        start(system, name, deployment)
    system.wait_ready()
    firing = [schedule({"seconds": 0.2}, **every(1, **POLICY)) for _ in range(deployment.firing)]
    by_hand = schedule({"seconds": 0.2}, overlap_policy="allow")
    slow = schedule({"seconds": deployment.jobs_of_seconds}, overlap_policy="allow")

    began = clock.now()
    with ExitStack() as somebody:
        somebody.enter_context(triggering(by_hand, per_second=deployment.by_hand_per_second))
        if deployment.jobs_of_seconds:
            somebody.enter_context(triggering(slow, per_second=0.25))
        calm_until = began + timedelta(seconds=deployment.calm_seconds)
        system.until(lambda: clock.now() >= calm_until, what="it ran undisturbed for a while")
        for _ in range(deployment.rounds):
            for name in everybody:
                process = system.processes[name]
                tell(process)
                assert exit_status(system, process) == 0
                start(system, name, deployment)
                system.wait_ready()
        ended = clock.now()
    wait_for_fires(system, firing, until=ended)
    system.until(lambda: not unfinished(), what="everything has run", seconds=120)

    calm, rolling = latest(began, calm_until), latest(calm_until, ended)
    most = calm + deployment.most_later
    nemesis.found([*wrong_fires(firing, until=ended), *late(calm, rolling, most=most)])
    assert set(Execution.objects.values_list("attempt", flat=True)) == {1}
    assert not ErrorRecord.objects.exists()


def unfinished() -> bool:
    return Execution.objects.exclude(status="completed").exists()


def latest(since: datetime, until: datetime) -> timedelta:
    """The longest that anything due in that time waited to be begun."""
    with connection.cursor() as cursor:
        cursor.execute(LATEST, [since, until])
        waited: timedelta = cursor.fetchone()[0]
    return waited


def late(calm: timedelta, rolling: timedelta, *, most: timedelta) -> Iterator[str]:
    if rolling > most:
        yield f"something began {rolling} late; undisturbed it is {calm} at most"
