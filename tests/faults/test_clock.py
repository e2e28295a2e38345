"""The clock of the database jumps an hour, on and back: no fire is dropped, none comes twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app.models import FireRecord, Schedule
from tests.faults import clock, invariants
from tests.faults.bare import bare_system
from tests.faults.conftest import THREADS
from tests.faults.nemesis import Nemesis
from tests.faults.work import MOST_BUSY, share_of_a_processor
from tests.journeys import scenario
from tests.journeys.scenario import every, retries, schedule
from tests.journeys.test_dispatch import fires
from tests.processes import System

pytestmark = pytest.mark.fault

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
ALL: Final[dict[str, Any]] = {
    "overlap_policy": "allow",
    "catchup_policy": "all",
    "catchup_limit": 100,
}
CRON: Final[dict[str, Any]] = {"schedule_type": "cron", "schedule_config": {"cron": "* * * * *"}}
BEATS = ("beat", "beat-2")
WEEKEND_HOURS = 64


@pytest.fixture
def system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory, nemesis: Nemesis
) -> Iterator[System]:
    """Two beats and a worker that go by a clock which can be set."""
    folder = tmp_path_factory.mktemp("clock")
    with django_db_blocker.unblock(), bare_system(folder) as system:
        clock.install()
        system.worker(threads=THREADS)
        for name in BEATS:
            system.beat(name)
        system.wait_ready()
        nemesis.watch(system)
        yield system
        nemesis.strikes("clock set", times=clock.times_set())
        nemesis.count(system)


def plans() -> dict[str, Schedule]:
    """One of each kind: what it does about fires that it has missed is in its name."""
    retried: dict[str, Any] = {
        "retry_policy": retries(5)
    }  # the jump takes the lease of what runs just then
    return {
        "each second, all": schedule(**every(1), **ALL, **retried),
        "each second, latest": schedule(**every(1), overlap_policy="allow", **retried),
        "each minute, all": schedule(**every(60), **ALL, **retried),
        "cron, all": schedule(**CRON, timezone="America/New_York", **ALL, **retried),
        "cron, none": schedule(**CRON, catchup_policy="none", **retried),
        "each second, one after the other": schedule(
            **every(1), overlap_policy="buffer_all", buffer_limit=1000, **retried
        ),
    }


def pass_by(system: System, of: Sequence[Schedule], moment: datetime) -> None:
    """Until all that comes up to this moment was looked at."""
    ids = [one.id for one in of]
    overdue = Schedule.objects.filter(id__in=ids, enabled=True, next_run_at__lte=moment)
    system.until(
        lambda: clock.now() > moment and not overdue.exists(),
        what=f"every fire up to {moment} was looked at",
    )


def rest(system: System) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE task_schedules SET enabled = false")
    run_out(system)


def run_out(system: System) -> None:
    """Until everything that there is has run."""
    left = Execution.objects.exclude(status="completed")
    try:
        system.until(lambda: not left.exists(), what="everything has run", seconds=120)
    except AssertionError as error:
        shown = list(left.values("number", "snapshot__name", "status", "held_by", "due_at")[:9])
        raise AssertionError(f"{left.count()} are left: {shown}: {error}") from None


def told(record: FireRecord, step: timedelta) -> list[datetime]:
    """The fires that a record tells of."""
    found = [record.nominal_at + step * k for k in range(record.count)]
    assert record.nominal_until in {None, found[-1]}
    return found


def grid(of: Schedule, until: datetime) -> list[datetime]:
    """The oracle: all its fires before this one."""
    is_cron = of.schedule_type == "cron"
    step = step_of(of)
    at = (of.created_at.replace(second=0, microsecond=0) if is_cron else of.anchor_at) + step
    return [at + step * k for k in range((until - at) // step)]


def step_of(of: Schedule) -> timedelta:
    if of.schedule_type == "cron":
        return MINUTE
    return timedelta(milliseconds=of.schedule_config["interval_ms"])


def assert_each_once(of: dict[str, Schedule]) -> None:
    """Every fire has one record, and those that were to run one execution that ran once."""
    for name, one in of.items():
        one.refresh_from_db()
        assert one.next_run_at is not None
        records = fires(one)
        seen = [at for record in records for at in told(record, step_of(one))]
        assert seen == grid(one, one.next_run_at), name
        ran = {record.execution_id for record in records if record.reason == "dispatched"}
        made = Execution.objects.filter(schedule_id=one.id).values_list("id", flat=True)
        assert len(ran) == len(made), name
        assert ran == set(made), name


def test_a_clock_that_is_set_on_an_hour_drops_no_fire_and_doubles_none(system: System) -> None:
    many = plans()
    of = list(many.values())
    pass_by(system, of, clock.now() + 3 * SECOND)

    clock.put(HOUR)

    pass_by(system, of, clock.now() + 3 * SECOND)
    rest(system)
    assert_each_once(many)
    counted = {name: len(fires(one)) for name, one in many.items()}
    assert counted["cron, all"] >= 60
    assert counted["each minute, all"] >= 60
    ran = Execution.objects.filter(schedule_id=many["each minute, all"].id)
    assert ran.count() == counted["each minute, all"]
    assert invariants.healed() == {}


def test_a_clock_that_is_set_back_an_hour_drops_no_fire_and_doubles_none(system: System) -> None:
    many = plans()
    of = list(many.values())
    pass_by(system, of, clock.now() + 3 * SECOND)

    clock.put(-HOUR)
    frontier = clock.now() + HOUR

    # What the clock shows again has fired: nothing comes, and a run by hand goes through.
    by_hand = schedules.trigger(schedule(), actor=SYSTEM)
    scenario.reaches(system, by_hand, "completed")
    pass_by(system, of, clock.now() + 2 * SECOND)
    latest = FireRecord.objects.order_by("-nominal_at").first()
    assert latest is not None
    assert latest.nominal_at <= frontier + SECOND

    clock.put(timedelta())

    pass_by(system, of, clock.now() + 2 * SECOND)
    rest(system)
    assert_each_once(many)
    assert invariants.healed() == {}


@pytest.mark.long
def test_one_that_is_resumed_after_the_clock_went_back_repeats_no_fire(system: System) -> None:
    each_minute = schedule(**CRON, **ALL)
    clock.put(HOUR)
    pass_by(system, [each_minute], clock.now())
    before = [one.nominal_at for one in fires(each_minute)]
    assert len(before) >= 60
    run_out(system)

    clock.put(timedelta())
    schedules.disable(each_minute.id, actor=SYSTEM)
    again = schedules.enable(each_minute.id, actor=SYSTEM).next_run_at
    assert again in before
    to_come = again - clock.now()
    clock.put(to_come - SECOND)

    gone_on = Schedule.objects.filter(id=each_minute.id, enabled=True, next_run_at__gt=again)
    system.until(gone_on.exists, what="it has gone on")
    rest(system)
    records = fires(each_minute)
    assert [one.nominal_at for one in records] == sorted({one.nominal_at for one in records})
    assert Execution.objects.filter(schedule_id=each_minute.id).count() == len(
        [one for one in records if one.reason == "dispatched"]
    )


@pytest.mark.long
def test_after_a_weekend_without_workers_everything_that_was_queued_runs(system: System) -> None:
    system.processes["worker"].kill()
    hourly = schedule(**every(3600), **ALL)
    minutely = schedule(**every(60))
    by_hand = [schedules.trigger(schedule(), actor=SYSTEM) for _ in range(20)]

    for hours in range(4, WEEKEND_HOURS + 1, 4):
        clock.put(hours * HOUR)
        pass_by(system, [hourly, minutely], clock.now())

    assert Execution.objects.filter(schedule_id=hourly.id).count() == WEEKEND_HOURS
    assert not Execution.objects.exclude(status__in=["queued", "pending"]).exists()
    system.worker()
    rest(system)
    assert set(Execution.objects.values_list("attempt", flat=True)) == {1}
    assert set(Execution.objects.filter(id__in=by_hand).values_list("status", flat=True)) == {
        "completed"
    }
    assert_each_once({"hourly": hourly, "minutely": minutely})
    assert invariants.healed() == {}
    clock.put(timedelta())  # the other way: for a weekend there is nothing to do
    for name in BEATS:
        assert share_of_a_processor(system, name) < MOST_BUSY


@pytest.mark.long
def test_what_stood_in_a_queue_when_the_clock_went_back_runs_all_the_same(system: System) -> None:
    each_minute = schedule(**CRON, **ALL, retry_policy=retries(5))
    system.processes["worker"].pause()
    clock.put(HOUR)
    pass_by(system, [each_minute], clock.now())
    waiting = Execution.objects.filter(schedule_id=each_minute.id, status="queued")
    assert waiting.count() >= 60

    clock.put(timedelta())
    system.processes["worker"].resume()

    rest(system)
    assert_each_once({"cron, all": each_minute})
