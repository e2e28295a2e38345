"""Very many at one instant, and a flood of urgent work before which the rest must not starve."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db.models import Max

from executions_app import clock
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app.models import FireRecord, Schedule
from tests.faults.nemesis import Nemesis
from tests.journeys.scenario import every, schedule
from tests.processes import System

pytestmark = [pytest.mark.fault, pytest.mark.long]

BEATS: Final = ("beat", "beat-2", "beat-3")
MOST_CONNECTIONS: Final = 60
HERD: Final = 5_000
ALL_WRITTEN: Final = timedelta(seconds=10)
FLOOD: Final = 1_500
ALWAYS_WAITING: Final = 30
PATIENT: Final = 50
EACH: Final = 25  # urgent ones between two patient ones
URGENT_BEGUN: Final = timedelta(seconds=2)
OPEN: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


def test_a_herd_of_one_instant_fires_once_each_and_keeps_to_its_connections(
    system: System, nemesis: Nemesis
) -> None:
    for name in BEATS:
        system.beat(name)
    system.wait_ready()

    with connections_counted(system) as counted:
        at = clock.now() + timedelta(seconds=5)  # by then all of them are stored
        herd = make_herd(HERD, at=at)
        nemesis.strikes("fire of one instant", times=HERD)
        ran = Execution.objects.filter(schedule_id__in=herd, status="completed")
        system.until(lambda: ran.count() == HERD, what="all have run", seconds=120)

    for name in BEATS[1:]:
        system.processes[name].stop()
    fires = FireRecord.objects.filter(schedule_id__in=herd)
    assert set(fires.values_list("nominal_at", flat=True)) == {at}
    assert fires.count() == HERD
    last_written = fires.aggregate(last=Max("created_at"))["last"]
    assert last_written - at < ALL_WRITTEN
    assert Execution.objects.filter(schedule_id__in=herd).count() == HERD
    assert set(ran.values_list("attempt", flat=True)) == {1}
    assert max(counted) <= MOST_CONNECTIONS
    Schedule.objects.filter(id__in=herd).delete()


def make_herd(size: int, *, at: datetime) -> list[UUID]:
    """Schedules that are all due at one instant, and then in an hour."""
    model = schedule(**every(3600), overlap_policy="allow", enabled=False)
    herd = []
    for number in range(size):
        one = copy.copy(model)
        one.id, one.name, one.enabled = uuid4(), f"{model.name}-{number}", True
        one.anchor_at, one.next_run_at = at - timedelta(hours=1), at
        herd.append(one)
    Schedule.objects.bulk_create(herd, batch_size=1_000)
    return [one.id for one in herd]


@contextmanager
def connections_counted(system: System) -> Iterator[list[int]]:
    """How many connections its database had, looked at over and over by a connection of its own."""
    counted: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        with psycopg.connect(system.environment["DATABASE_URL"], autocommit=True) as watching:
            while not is_over.wait(0.05):
                counted.append(watching.execute(OPEN).fetchone()[0])  # type: ignore[index]

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield counted
    finally:
        is_over.set()
        thread.join()


def test_a_flood_of_urgent_work_does_not_starve_the_rest(system: System, nemesis: Nemesis) -> None:
    """The shapes of the Procfile: one worker looks at everything by priority, one at low first."""
    system.worker().stop()
    system.worker("all", threads=2)
    system.worker("low", threads=1, queues="low,normal,high")
    system.wait_ready()
    urgent = schedule({"seconds": 0.05}, priority="critical", overlap_policy="allow")
    patient = schedule({"seconds": 0.05}, priority="low", overlap_policy="allow")

    for number in range(FLOOD):
        keep_up(system, urgent)
        schedules.trigger(urgent, actor=SYSTEM)
        if number % EACH == 0 and number < PATIENT * EACH:
            schedules.trigger(patient, actor=SYSTEM)
    nemesis.strikes("urgent execution", times=FLOOD)
    left = Execution.objects.filter(schedule_id__in=[urgent.id, patient.id])
    system.until(
        lambda: not left.exclude(status="completed").exists(), what="all have run", seconds=240
    )

    for name in ("all", "low"):
        system.processes[name].stop()
    assert last_start(patient) < last_start(urgent)
    assert slowest_but_one_in_twenty(urgent) < URGENT_BEGUN


def keep_up(system: System, urgent: Schedule) -> None:
    """The flood is without end, not without measure: a few more than can be done always wait."""
    left = Execution.objects.filter(schedule_id=urgent.id).exclude(status="completed")
    system.until(lambda: left.count() < ALWAYS_WAITING, what="some of the flood has run")


def last_start(of: Schedule) -> datetime:
    """When the last of its executions was begun."""
    started = Execution.objects.filter(schedule_id=of.id).aggregate(last=Max("started_at"))
    assert started["last"] is not None
    return datetime.fromisoformat(str(started["last"]))


def slowest_but_one_in_twenty(of: Schedule) -> timedelta:
    """How long 95 of 100 of its executions stood in their queue at most."""
    ran = Execution.objects.filter(schedule_id=of.id).values_list("queued_at", "started_at")
    waited = sorted(begun - queued for queued, begun in ran if queued and begun)
    return waited[int(0.95 * len(waited))]
