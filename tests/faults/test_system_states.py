"""Stopped stays stopped, whoever dies meanwhile; and the four states of the whole, one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from executions_app.audit import SYSTEM
from executions_app.models import Event, Execution
from scheduler_app import schedules
from scheduler_app import system as switch
from scheduler_app.models import FireRecord, Schedule
from tests.faults.conftest import THREADS
from tests.journeys.scenario import every, one, reaches, retries, schedule
from tests.processes import System

pytestmark = pytest.mark.fault

SECOND = timedelta(seconds=1)


def wait_for_status(system: System, wanted: str) -> None:
    system.until(lambda: switch.read().status == wanted, what=f"the system is {wanted}")


def has_ticked(system: System, *, since: datetime) -> None:
    """Until a beat has looked at the clock after `since`."""

    def is_later() -> bool:
        last = switch.read().scheduler_last_tick_at
        return last is not None and last > since

    system.until(is_later, what="a beat goes round")


def kill_all(system: System) -> None:
    for name in ("beat", "worker", "redis"):
        system.processes[name].kill()


def start_all(system: System) -> None:
    system.redis_server()
    system.beat()
    system.worker(threads=THREADS)
    system.wait_ready()


def test_a_stopped_system_is_still_stopped_after_all_of_it_was_killed(system: System) -> None:
    policy = {"overlap_policy": "allow", "catchup_policy": "all", "catchup_limit": 100}
    steady = schedule(**every(1, **policy), retry_policy=retries(5))
    ran = Execution.objects.filter(schedule_id=steady.id)
    system.until(lambda: ran.filter(status="completed").count() >= 2, what="it fires")

    switch.stop(SYSTEM)
    has_ticked(system, since=datetime.now(UTC))  # what a beat had begun before is done
    system.until(lambda: not ran.exclude(status="completed").exists(), what="what ran has ended")
    by_hand = schedules.trigger(schedule(), actor=SYSTEM)
    kill_all(system)
    start_all(system)
    has_ticked(system, since=datetime.now(UTC) + 2 * SECOND)  # with time for all that is due

    assert (switch.read().scheduler_running, switch.read().status) == (False, "paused")
    assert one(by_hand).status == "pending"
    before = ran.count()
    overdue = Schedule.objects.get(id=steady.id).next_run_at
    assert overdue is not None
    assert overdue < datetime.now(UTC) - SECOND

    switch.start(SYSTEM)

    reaches(system, by_hand, "completed")
    system.until(lambda: ran.count() >= before + 3, what="it fires again")
    schedules.disable(steady.id, actor=SYSTEM)
    seen = FireRecord.objects.filter(schedule_id=steady.id).order_by("nominal_at")
    nominal = list(seen.values_list("nominal_at", flat=True))
    assert overdue in nominal
    assert nominal == [steady.anchor_at + SECOND * k for k in range(1, len(nominal) + 1)]


@pytest.mark.long
def test_what_runs_when_the_system_is_stopped_and_killed_is_not_queued_before_the_start(
    system: System,
) -> None:
    long = schedules.trigger(schedule({"seconds": 2.0}, retry_policy=retries(5)), actor=SYSTEM)
    reaches(system, long, "running")

    switch.stop(SYSTEM)
    kill_all(system)
    start_all(system)
    system.until(lambda: one(long).status != "running", what="its worker is missed")
    has_ticked(system, since=datetime.now(UTC) + 2 * SECOND)

    assert switch.read().status == "paused"
    assert one(long).status == "pending"

    switch.start(SYSTEM)

    assert reaches(system, long, "completed").attempt == 2


def test_the_whole_is_idle_running_paused_and_in_error_as_it_should_be(system: System) -> None:
    wait_for_status(system, "idle")
    Event.objects.filter(type="scheduler:status").delete()

    steady = schedule(**every(1))
    wait_for_status(system, "running")
    switch.stop(SYSTEM)
    assert switch.read().status == "paused"
    switch.start(SYSTEM)
    assert switch.read().status == "running"
    system.redis_server().kill()
    wait_for_status(system, "error")
    assert "Redis is away" in switch.read().problem
    system.redis_server()
    wait_for_status(system, "running")
    schedules.disable(steady.id, actor=SYSTEM)
    wait_for_status(system, "idle")

    told = Event.objects.filter(type="scheduler:status").order_by("xid", "id")
    assert [each.data["status"] for each in told] == [
        "running",
        "paused",
        "running",
        "error",
        "running",
        "idle",
    ]
