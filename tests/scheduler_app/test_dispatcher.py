"""One round of the dispatcher: each fire one record, each run one execution and one message."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from errors_app.models import ErrorRecord
from executions_app import clock, ids, outbox, partitions
from executions_app.models import AuditEntry, Execution, SystemState
from scheduler_app import dispatcher, due, outlook, queues, sending, system
from scheduler_app.ahead import Ahead
from scheduler_app.models import FireRecord, Schedule
from tests.patience import forgive_redis

MakeSchedule = Callable[..., Schedule]
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def fires(schedule: Schedule) -> list[str]:
    rows = FireRecord.objects.filter(schedule_id=schedule.id).order_by("nominal_at")
    return list(rows.values_list("reason", flat=True))


def columns(schedule: Schedule) -> dict[str, Any]:
    return {one.attname: getattr(schedule, one.attname) for one in Schedule._meta.concrete_fields}


def copies_of(schedule: Schedule, number: int) -> None:
    Schedule.objects.bulk_create(
        Schedule(**{**columns(schedule), "id": ids.new(clock.now()), "name": f"copy {place}"})
        for place in range(number)
    )


def messages(queue: str = "normal") -> list[str]:
    found: list[Any] = queues.broker().lrange(queue, 0, -1)
    return [json.loads(one)["headers"]["kwargsrepr"] for one in found]


@pytest.mark.django_db
def test_a_due_fire_becomes_a_record_an_execution_and_a_message(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=SECOND)
    due_at = schedule.next_run_at
    assert due_at is not None

    done = dispatcher.dispatch_due()

    execution = Execution.objects.get(schedule_id=schedule.id)
    record = FireRecord.objects.get(schedule_id=schedule.id)
    schedule.refresh_from_db()
    assert (done.fired, done.queued) == (1, 1)
    assert (record.nominal_at, record.reason) == (due_at, "dispatched")
    assert record.execution_id == execution.id
    assert (execution.status, execution.nominal_at, execution.attempt) == ("queued", due_at, 0)
    assert (schedule.last_run_at, schedule.next_run_at) == (due_at, due_at + MINUTE)
    assert len(messages()) == 1
    assert str(execution.id) in messages()[0]


@pytest.mark.django_db
def test_what_is_not_due_is_left_alone(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()

    done = dispatcher.dispatch_due()

    assert done == dispatcher.Round()
    assert fires(schedule) == []


@pytest.mark.django_db
def test_a_second_round_does_nothing_more(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND)
    dispatcher.dispatch_due()

    again = dispatcher.dispatch_due()

    assert again == dispatcher.Round()
    assert Execution.objects.count() == 1


@pytest.mark.django_db
def test_after_a_pause_one_run_catches_up_and_the_missed_ones_are_counted(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=5 * MINUTE + SECOND)

    dispatcher.dispatch_due()

    schedule.refresh_from_db()
    assert fires(schedule) == ["missed_coalesced"] * 5 + ["dispatched"]
    assert schedule.missed_count == 5
    assert Execution.objects.count() == 1


@pytest.mark.django_db
def test_a_long_absence_leaves_a_hundred_records_and_one_summary(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=60 * DAY + SECOND)

    dispatcher.dispatch_due()

    records = FireRecord.objects.filter(schedule_id=schedule.id)
    summary = records.get(nominal_until__isnull=False)
    assert records.count() == 102
    assert sum(records.values_list("count", flat=True)) == 60 * 24 * 60 + 1
    assert summary.count == 60 * 24 * 60 + 1 - 101


@pytest.mark.django_db
def test_a_fire_during_an_active_execution_is_skipped_and_recorded(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=SECOND)
    dispatcher.dispatch_due()
    Schedule.objects.filter(id=schedule.id).update(next_run_at=clock.now() - SECOND / 2)

    dispatcher.dispatch_due()

    assert Counter(fires(schedule))["skipped_overlap"] == 1
    assert Execution.objects.count() == 1


@pytest.mark.django_db
def test_a_fire_that_is_already_recorded_is_not_run_again(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=SECOND, overlap_policy="allow")
    dispatcher.dispatch_due()
    first = FireRecord.objects.get()
    Schedule.objects.filter(id=schedule.id).update(next_run_at=first.nominal_at)

    dispatcher.dispatch_due()

    assert FireRecord.objects.filter(nominal_at=first.nominal_at).count() == 1
    assert Execution.objects.filter(nominal_at=first.nominal_at).count() == 1


@pytest.mark.django_db
def test_a_one_time_schedule_runs_once_and_is_disabled(make_schedule: MakeSchedule) -> None:
    run_at = (clock.now() + MINUTE).isoformat()
    schedule = make_schedule(schedule_type="one_time", schedule_config={"run_at": run_at})
    past = clock.now() - SECOND
    Schedule.objects.filter(id=schedule.id).update(
        schedule_config={"run_at": past.isoformat()}, next_run_at=past
    )

    dispatcher.dispatch_due()

    schedule.refresh_from_db()
    assert fires(schedule) == ["dispatched"]
    assert (schedule.enabled, schedule.next_run_at) == (False, None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "corruption",
    [
        {"schedule_config": {"cron": "garbage"}},
        {"schedule_config": []},
        {"timezone": "Mars/Olympus"},
        {"retry_policy": {"max_retries": "many"}},
        {"schedule_type": "lunar"},
    ],
    ids=lambda one: next(iter(one)),
)
def test_a_corrupt_row_disables_only_itself_with_an_error_record(
    make_schedule: MakeSchedule, corruption: dict[str, Any]
) -> None:
    healthy = make_schedule("healthy", late_by=SECOND)
    corrupt = make_schedule("corrupt", late_by=2 * SECOND)
    Schedule.objects.filter(id=corrupt.id).update(**corruption)

    done = dispatcher.dispatch_due()

    corrupt.refresh_from_db()
    assert done.disabled == ["corrupt"]
    assert (corrupt.enabled, corrupt.next_run_at) == (False, None)
    assert ErrorRecord.objects.get(schedule_id=corrupt.id).recovery_status == "escalated"
    assert AuditEntry.objects.filter(action="schedule.disabled").count() == 1
    assert fires(healthy) == ["dispatched"]


@pytest.mark.django_db
def test_a_batch_that_fails_as_a_whole_is_done_again_row_by_row(
    make_schedule: MakeSchedule,
) -> None:
    healthy = make_schedule("healthy", late_by=SECOND)
    corrupt = make_schedule("corrupt", late_by=2 * SECOND)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.snapshot->>'name' = 'corrupt' THEN
                    RAISE EXCEPTION 'refused' USING ERRCODE = 'data_exception';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON task_executions
                FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse();
            """
        )

    done = dispatcher.dispatch_due()

    corrupt.refresh_from_db()
    assert done.disabled == ["corrupt"]
    assert not corrupt.enabled
    assert fires(corrupt) == []
    assert fires(healthy) == ["dispatched"]


@pytest.mark.django_db
def test_trouble_of_the_database_itself_disables_nobody(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=SECOND)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full';
            END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON task_executions
                FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse();
            """
        )

    with pytest.raises(OperationalError, match="no space left"):
        dispatcher.dispatch_due()

    before = schedule.next_run_at
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_run_at) == (True, before)


@pytest.mark.django_db
def test_the_number_of_statements_of_a_batch_does_not_depend_on_its_size(
    make_schedule: MakeSchedule,
) -> None:
    one = make_schedule("one", late_by=MINUTE / 2)
    counts = []
    for size in (9, 999):
        copies_of(one, size)
        with CaptureQueriesContext(connection) as captured:
            fired = dispatcher._fire(dispatcher.Round(), limit=1000).taken
        # Which limits are in force is asked once a second, however much is due.
        asked = [one for one in captured if "FROM limits" not in one["sql"]]
        counts.append((fired, len(asked)))
        Schedule.objects.exclude(id=one.id).delete()
        Schedule.objects.update(next_run_at=one.next_run_at)

    assert [fired for fired, _ in counts] == [10, 1000]
    assert counts[0][1] == counts[1][1] <= 6


@pytest.mark.django_db
def test_higher_priorities_are_taken_first(
    make_schedule: MakeSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    for priority in ("low", "normal", "critical", "high"):
        make_schedule(priority, priority=priority, late_by=SECOND)

    with transaction.atomic():
        taken = due.take(limit=10)

    assert [one.priority for one in taken] == ["critical", "high", "normal", "low"]


@pytest.mark.django_db
def test_each_priority_has_its_queue(make_schedule: MakeSchedule) -> None:
    for priority in queues.PRIORITY_QUEUES:
        make_schedule(priority, priority=priority, late_by=SECOND)

    dispatcher.dispatch_due()

    assert [len(messages(one)) for one in queues.PRIORITY_QUEUES] == [1, 1, 1, 1]


@pytest.mark.django_db
def test_messages_that_redis_did_not_take_are_sent_when_it_is_back(
    make_schedule: MakeSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_schedule(late_by=SECOND)
    queues.broker.cache_clear()
    with monkeypatch.context() as away:
        away.setattr("django.conf.settings.REDIS_BROKER_URL", "redis://127.0.0.1:1/0")
        done = dispatcher.dispatch_due()
    queues.broker.cache_clear()
    forgive_redis()

    republished = sending.republish_overdue()

    assert (done.queued, done.unsent) == (1, 1)
    assert republished == 1
    assert len(messages()) == 1


@pytest.mark.django_db
def test_a_lost_message_is_sent_again_and_a_waiting_one_is_not(
    make_schedule: MakeSchedule,
) -> None:
    make_schedule(late_by=SECOND)
    dispatcher.dispatch_due()
    Execution.objects.update(published_at=clock.now() - 30 * SECOND)

    while_it_waits = sending.republish_overdue()
    queues.broker().delete("normal")
    after_its_loss = sending.republish_overdue()

    assert (while_it_waits, after_its_loss) == (0, 1)


@pytest.mark.django_db
def test_a_backlog_is_not_doubled_by_publishing_it_again(make_schedule: MakeSchedule) -> None:
    for number in range(60):
        make_schedule(f"job {number}", late_by=MINUTE / 2)
    dispatcher.dispatch_due()
    Execution.objects.update(published_at=clock.now() - 10 * MINUTE)

    republished = sending.republish_overdue()

    assert republished == sending.BUSY_QUEUE_MOST_AT_ONCE < 60


@pytest.mark.django_db
def test_a_stopped_system_keeps_what_is_triggered_by_hand_until_it_is_started(
    make_schedule: MakeSchedule,
) -> None:
    SystemState.objects.update(scheduler_running=False)

    released = dispatcher.release_due_if_running([])

    assert released == 0
    assert system.read().scheduler_running is False


@pytest.mark.django_db
def test_the_sleep_ends_with_the_next_due_instant(make_schedule: MakeSchedule) -> None:
    assert outlook.look().until_due(Ahead()) is None
    make_schedule()

    seconds = outlook.look().until_due(Ahead())

    assert seconds is not None
    assert 0 < seconds <= 60 - Ahead().seconds


@pytest.mark.django_db
def test_a_fire_in_a_month_without_partition_is_recorded(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=400 * DAY + SECOND, schedule_config={"every": "100 days"})

    dispatcher.dispatch_due()

    assert fires(schedule)[-1] == "dispatched"
    assert len(fires(schedule)) == 5


@pytest.mark.django_db
def test_after_a_long_absence_of_the_system_nobody_is_left_without_a_partition(
    make_schedule: MakeSchedule,
) -> None:
    oldest = make_schedule(late_by=400 * DAY, schedule_config={"every": "100 days"})
    copies_of(oldest, 499)
    urgent = make_schedule(
        "urgent", priority="critical", late_by=250 * DAY, schedule_config={"every": "50 days"}
    )

    done = dispatcher.dispatch_due()

    assert done.disabled == []
    assert fires(urgent)[-1] == "dispatched"


@pytest.mark.django_db(transaction=True)
def test_three_dispatchers_at_once_fire_each_schedule_once(make_schedule: MakeSchedule) -> None:
    for number in range(120):
        make_schedule(f"job {number}", late_by=SECOND)
    partitions.ensure_ahead(clock.now())

    def run(_: int) -> int:
        try:
            return dispatcher.dispatch_due().fired
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        fired = list(pool.map(run, range(3)))

    assert sum(fired) == 120
    assert FireRecord.objects.count() == Execution.objects.count() == 120
    assert outbox.overdue(limit=500, grace_seconds=60, queues=["normal"]) == []
