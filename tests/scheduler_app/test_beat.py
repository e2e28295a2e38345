"""The metronome: rounds that survive trouble, maintenance jobs that fire once for all beats."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from kombu.exceptions import OperationalError

from config.celery import app
from config.env import env
from executions_app import clock, lifecycle, partitions
from executions_app.audit import SYSTEM
from executions_app.ids import new as new_id
from executions_app.models import Execution, OutcomeInbox, SystemState
from scheduler_app import epoch, outlook, queues, rescues, schedules
from scheduler_app.ahead import Ahead
from scheduler_app.beat import (
    HOUSEKEEPING_SECONDS,
    QUIET_SECONDS,
    CadenzaScheduler,
    Metronome,
)
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.outlook import Outlook
from tests import verbs
from tests.patience import forgive_redis

MakeSchedule = Callable[..., Schedule]
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_round_dispatches_what_is_due_and_notes_the_tick(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND)

    wait = Metronome().beat()

    state = SystemState.objects.get()
    assert Execution.objects.count() == 1
    assert state.scheduler_last_tick_at is not None
    assert state.status == "running"
    assert 0 <= wait <= 1


def test_an_idle_round_is_one_statement(make_schedule: MakeSchedule) -> None:
    make_schedule()
    beat = CadenzaScheduler(app=app)
    beat.tick()
    beat._maintain_at = beat.metronome._kept_house_at = float("inf")

    with CaptureQueriesContext(connection) as captured:
        wait = beat.tick()

    assert len(captured) == 1
    assert 0 < wait <= env.tick_seconds


def first_fire_in(seconds: float) -> Outlook:
    seen = outlook.look()
    return replace(seen, first_fire_at=seen.now + timedelta(seconds=seconds))


def test_duties_that_can_wait_do_not_begin_just_before_a_fire(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    metronome = Metronome()
    metronome.beat()
    metronome._kept_house_at = time.monotonic() - HOUSEKEEPING_SECONDS
    seen = first_fire_in(Ahead().seconds + QUIET_SECONDS / 2)

    just_before = list(metronome._duties(seen))
    long_before = list(metronome._duties(first_fire_in(Ahead().seconds + 2 * QUIET_SECONDS)))
    metronome._kept_house_at = time.monotonic() - 2 * HOUSEKEEPING_SECONDS
    put_off_too_long = list(metronome._duties(seen))

    assert schedule.enabled
    assert just_before == []
    assert long_before == put_off_too_long == [metronome._keep_house]


def test_due_work_comes_before_the_house(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND)
    metronome = Metronome()

    duties = list(metronome._duties(outlook.look()))

    assert duties.index(metronome._dispatch) < duties.index(metronome._keep_house)


def test_a_backlog_of_outcomes_lets_no_beat_rest(make_schedule: MakeSchedule) -> None:
    make_schedule()
    OutcomeInbox.objects.bulk_create(
        OutcomeInbox(
            id=new_id(clock.now()),
            execution_id=new_id(clock.now()),
            status="completed",
            outcome="ok",
            completed_at=clock.now(),
        )
        for _ in range(env.scheduler_batch_size + 1)
    )
    metronome = Metronome()

    waits = [metronome.beat() for _ in range(2)]

    assert waits[0] == 0
    assert waits[1] > 0
    assert not OutcomeInbox.objects.exists()


def test_what_waits_for_work_of_its_key_goes_once_that_has_ended(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(unique_key="the one", unique_mode="replace")
    first = schedules.trigger(schedule, actor=SYSTEM)
    (claimed,) = lifecycle.claim([first], worker_id="worker-1")
    second = schedules.trigger(schedule, actor=SYSTEM)
    metronome = Metronome()
    metronome.beat()
    held_by = Execution.objects.get(id=second).held_by
    verbs.cancelled(claimed)

    waits = [metronome.beat() for _ in range(3)]

    assert held_by == "unique:the one"
    assert Execution.objects.get(id=second).status == "queued"
    assert waits[0] == 0


def test_a_stopped_system_dispatches_nothing_and_says_so(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND)
    SystemState.objects.update(scheduler_running=False)

    Metronome().beat()

    assert Execution.objects.count() == 0
    assert SystemState.objects.get().status == "paused"


def test_a_stopped_system_rests_between_its_rounds(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND)
    SystemState.objects.update(scheduler_running=False)

    wait = Metronome().beat()

    assert wait == env.tick_seconds


def test_retries_that_are_held_back_keep_no_beat_awake(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND)
    metronome = Metronome()
    metronome.beat()
    Execution.objects.update(status="pending", attempt=1, due_at=clock.now() - SECOND)
    SystemState.objects.update(error_recovery_running=False)

    wait = metronome.beat()

    assert wait == env.tick_seconds


def test_a_duty_that_fails_leaves_the_other_duties_alone(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE EXCEPTION 'refused' USING ERRCODE = 'query_canceled';
            END $$;
            CREATE TRIGGER refuse BEFORE UPDATE ON system_state
                FOR EACH ROW EXECUTE FUNCTION refuse();
            """
        )

    try:
        Metronome().beat()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse() CASCADE")

    assert Execution.objects.count() == 1


def test_after_an_absence_of_the_database_workers_may_renew_before_they_are_rescued(
    make_schedule: MakeSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_schedule(late_by=SECOND)
    metronome = Metronome()
    metronome.beat()
    lifecycle.claim([Execution.objects.get().id], worker_id="worker-1")
    Execution.objects.update(lease_expires_at=clock.now() - SECOND)
    metronome._rescues.due_at = float("-inf")
    monkeypatch.setattr(rescues, "FEW_SECONDS", 0.0)  # any absence is a long one
    with monkeypatch.context() as away:
        connection.close()
        away.setitem(connection.settings_dict, "NAME", "nowhere")
        metronome.beat()
        connection.close()

    metronome.beat()

    assert Execution.objects.get().status == "running"


def test_a_system_that_was_off_for_months_makes_room_before_anything_else(
    make_schedule: MakeSchedule,
) -> None:
    make_schedule(late_by=SECOND)
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE events_{now:%Y_%m}")
    partitions.forget()

    try:
        Metronome().beat()
    finally:
        partitions.ensure_ahead(now)

    assert SystemState.objects.get().status == "running"
    assert Execution.objects.count() == 1


def test_a_round_without_redis_records_due_work_and_reports_the_error(
    make_schedule: MakeSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_schedule(late_by=SECOND)
    queues.broker.cache_clear()
    monkeypatch.setattr("django.conf.settings.REDIS_BROKER_URL", "redis://127.0.0.1:1/0")

    metronome = Metronome()
    metronome.beat()

    queues.broker.cache_clear()
    forgive_redis()
    state = SystemState.objects.get()
    execution = Execution.objects.get()
    assert (state.status, metronome.is_broker_away) == ("error", True)
    assert "Redis" in state.problem
    assert (execution.status, execution.published_at) == ("queued", None)


def test_an_exception_never_leaves_a_round(make_schedule: MakeSchedule) -> None:
    SystemState.objects.all().delete()

    wait = Metronome().beat()

    assert wait == 1


def test_a_schedule_without_a_next_run_gets_one_when_a_beat_starts(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule()
    Schedule.objects.update(next_run_at=None)

    Metronome().beat()

    schedule.refresh_from_db()
    assert schedule.next_run_at is not None


def queued_and_sent(make_schedule: MakeSchedule) -> None:
    epoch.keep()
    make_schedule(late_by=SECOND)
    Metronome().beat()
    assert Execution.objects.get().published_at is not None


def test_a_healthy_redis_has_nothing_published_again(make_schedule: MakeSchedule) -> None:
    queued_and_sent(make_schedule)

    assert [epoch.keep() for _ in range(10)] == [0] * 10


def test_an_emptied_redis_has_everything_published_again(make_schedule: MakeSchedule) -> None:
    queued_and_sent(make_schedule)
    queues.broker().flushall()

    marked = epoch.keep()

    assert marked == 1
    assert epoch.keep() == 0


def test_a_redis_set_back_to_a_snapshot_has_everything_published_again(
    make_schedule: MakeSchedule,
) -> None:
    queued_and_sent(make_schedule)
    snapshot = queues.broker().get(epoch.KEY)
    for _ in range(epoch.SLACK + 1):
        epoch.keep()
    queues.broker().set(epoch.KEY, snapshot)  # type: ignore[arg-type]

    assert epoch.keep() == 1


def test_a_restarted_redis_has_everything_published_again(make_schedule: MakeSchedule) -> None:
    queued_and_sent(make_schedule)
    SystemState.objects.update(redis_run_id="the run before")

    assert epoch.keep() == 1


@pytest.fixture
def maintenance(make_schedule: MakeSchedule) -> PeriodicTask:
    every, _ = IntervalSchedule.objects.get_or_create(every=30, period="seconds")
    PeriodicTask.objects.all().delete()
    task: PeriodicTask = PeriodicTask.objects.create(
        name="clean", task="cadenza.clean", interval=every, queue="system",
        last_run_at=clock.now() - timedelta(minutes=1),
    )  # fmt: skip
    return task


def sent() -> int:
    found: list[Any] = queues.broker().lrange("system", 0, -1)
    return [json.loads(one)["headers"]["task"] for one in found].count("cadenza.clean")


def test_of_two_beats_one_sends_a_maintenance_job(maintenance: PeriodicTask) -> None:
    first, second = CadenzaScheduler(app=app), CadenzaScheduler(app=app)
    for beat in (first, second):
        beat.setup_schedule()
        assert maintenance.name in beat.schedule

    for beat in (first, second) * 5:
        beat.tick()

    maintenance.refresh_from_db()
    assert sent() == 1
    assert maintenance.total_run_count == 1


@pytest.fixture
def busy(maintenance: PeriodicTask) -> Iterator[CadenzaScheduler]:
    """A beat with a maintenance job that is due, between two of its looks at Redis."""
    beat = CadenzaScheduler(app=app)
    beat.setup_schedule()
    assert maintenance.name in beat.schedule
    beat.metronome._kept_house_at = time.monotonic() + 60
    yield beat
    forgive_redis()


def test_a_redis_that_failed_a_moment_ago_is_not_asked_to_take_a_maintenance_job(
    busy: CadenzaScheduler,
) -> None:
    queues.leave_alone()
    busy.tick()
    left_alone = sent()
    forgive_redis()

    for _ in range(5):
        busy.tick()

    assert (left_alone, sent()) == (0, 1)


def test_a_redis_that_does_not_take_a_maintenance_job_is_left_alone_for_a_moment(
    busy: CadenzaScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("Timeout reading from socket")

    monkeypatch.setattr(busy, "send_task", fail)

    for _ in range(5):
        busy.tick()

    assert queues.is_left_alone()
    assert sent() == 0


def test_a_redis_that_is_away_as_the_first_maintenance_job_is_due_holds_no_round_up(
    busy: CadenzaScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_: float) -> None:
        raise AssertionError("the library waits for Redis")

    nowhere = app.connection_for_write("redis://127.0.0.1:1/0")
    monkeypatch.setitem(busy.__dict__, "connection", nowhere)
    monkeypatch.setattr("kombu.utils.functional.sleep", sleep)
    busy.tick()
    waits, left_alone = sent() == 0, queues.is_left_alone()
    monkeypatch.undo()
    forgive_redis()
    busy._maintain_at = float("-inf")

    for _ in range(5):
        busy.tick()

    assert (waits, left_alone, sent()) == (True, True, 1)


def test_a_maintenance_job_for_a_queue_that_is_not_there_says_nothing_of_redis(
    busy: CadenzaScheduler, maintenance: PeriodicTask
) -> None:
    PeriodicTask.objects.filter(pk=maintenance.pk).update(queue="sytem")
    busy.setup_schedule()

    for _ in range(5):
        busy.tick()

    maintenance.refresh_from_db()
    assert maintenance.total_run_count == 1
    assert not queues.is_left_alone()


def test_a_maintenance_job_whose_claim_failed_is_claimed_in_a_later_round(
    busy: CadenzaScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> bool:
        raise DatabaseError("the server closed the connection unexpectedly")

    monkeypatch.setattr(busy, "_claim", fail)
    busy.tick()
    monkeypatch.undo()
    busy._maintain_at = float("-inf")

    for _ in range(5):
        busy.tick()

    assert sent() == 1


def test_the_fires_of_people_never_go_through_the_library(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND)
    beat = CadenzaScheduler(app=app)

    beat.tick()

    assert FireRecord.objects.count() == 1
    assert not PeriodicTask.objects.filter(task="cadenza.run").exists()
