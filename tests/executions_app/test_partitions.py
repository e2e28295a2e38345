"""Work goes on over the edge of a month, in months far ahead, and where a month was dropped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from executions_app import clock, ids, lifecycle, partitions, retention
from executions_app.audit import Actor
from executions_app.lifecycle import NewExecution
from executions_app.models import Event, Execution
from executions_app.partitions import FIRE_RECORDS, Partition
from executions_app.states import ExecutionStatus
from scheduler_app import definition, dispatcher, queues, schedules
from scheduler_app.models import FireRecord, Schedule
from tests import verbs
from tests.executions_app.history import names_of, record
from tests.patience import forgive_redis

DAY = timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def owner(db: None) -> User:
    queues.broker.cache_clear()
    forgive_redis()
    queues.broker().flushdb()
    return User.objects.create_user("owner")


def daily(owner: User, *, next_run_at: datetime, **changes: Any) -> Schedule:
    """A schedule of every twelve hours that is due since `next_run_at`."""
    words = {
        "name": "a job",
        "schedule_type": "interval",
        "schedule_config": {"every": "12 hours"},
        "task_type": "shell_command",
        "task_config": {"command": ["true"]},
        **changes,
    }
    schedule = schedules.create(definition.parse(words), owner_id=owner.pk, actor=Actor.of(owner))
    Schedule.objects.filter(id=schedule.id).update(
        anchor_at=next_run_at - DAY / 2, next_run_at=next_run_at
    )
    return schedule


def partition_of(table: str, condition: str, *parameters: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT tableoid::regclass::text FROM {table} WHERE {condition}", parameters
        )
        (name,) = (row[0] for row in cursor.fetchall())
    return str(name)


@pytest.mark.django_db
@pytest.mark.parametrize("before", [MILLISECOND, timedelta(0)], ids=["last month", "this month"])
def test_what_was_queued_before_the_month_ended_is_run_after_it(before: timedelta) -> None:
    month = partitions.month_of(clock.now())
    execution_id = ids.new(month - before)
    new = NewExecution(
        id=execution_id, schedule_id=None, owner_id=1, trigger="time", priority="normal",
        snapshot={"name": "a job", "task_type": "noop", "timeout_ms": 1000}, due_at=clock.now(),
        max_attempts=2,
    )  # fmt: skip

    lifecycle.create([new])
    ((message, _),) = verbs.queue_due(limit=10)
    (claimed,) = lifecycle.claim([message.execution_id], worker_id="worker-1")
    assert lifecycle.renew({claimed.id: claimed.lease_token}) == {execution_id}
    verbs.complete(claimed, output=1)

    where = partition_of("task_executions", "id = %s", execution_id)
    assert where == Partition(partitions.EXECUTIONS, partitions.month_of(month - before)).name
    assert Execution.objects.get(id=execution_id).status == ExecutionStatus.COMPLETED
    told = Event.objects.filter(execution_id=execution_id).order_by("xid", "id")
    assert [one.type for one in told] == [
        "execution:queued", "execution:started", "execution:completed",
    ]  # fmt: skip


def test_fires_on_both_sides_of_a_months_first_instant_are_recorded_where_they_belong(
    owner: User,
) -> None:
    month = partitions.month_of(clock.now())
    eve = month - DAY / 2
    schedule = daily(owner, next_run_at=eve)

    assert dispatcher.dispatch_due().disabled == []

    recorded = FireRecord.objects.filter(schedule_id=schedule.id)
    assert set(recorded.values_list("nominal_at", flat=True)) >= {eve, month}
    for instant in (eve, month):
        name = partition_of("fire_records", "nominal_at = %s", instant)
        assert name == Partition(FIRE_RECORDS, partitions.month_of(instant)).name


@pytest.mark.django_db
def test_a_process_that_runs_past_the_last_month_it_made_makes_the_next() -> None:
    made_at = clock.now()
    partitions.ensure_ahead(made_at)
    years_later = made_at + 900 * DAY

    partitions.ensure_ahead(years_later)

    months = list(partitions.months(years_later, partitions.next_month(years_later, 3)))
    for table in partitions.TABLES:
        assert names_of(table, months) == {Partition(table, one).name for one in months}


@pytest.mark.django_db(transaction=True)
def test_a_late_schedule_is_recorded_in_months_that_retention_dropped_since(owner: User) -> None:
    now = clock.now()
    long_ago = partitions.month_of(now - 200 * DAY) + 3 * DAY
    partitions.ensure(FIRE_RECORDS, [long_ago], now=now)
    name = Partition(FIRE_RECORDS, partitions.month_of(long_ago)).name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {name}")  # as another process does, which cannot tell this one
    schedule = daily(owner, next_run_at=long_ago, schedule_config={"every": "50 days"})

    done = dispatcher.dispatch_due()

    assert done.disabled == []
    assert FireRecord.objects.filter(schedule_id=schedule.id, nominal_at=long_ago).exists()
    with transaction.atomic():
        for one in retention.past(now):
            partitions.drop(one)


@pytest.mark.django_db(transaction=True)
def test_a_month_that_somebody_is_about_to_write_into_is_not_dropped() -> None:
    long_ago = datetime(2024, 1, 5, tzinfo=UTC)
    now = clock.now()
    partitions.ensure(FIRE_RECORDS, [long_ago], now=now)
    writer = connection.copy()
    try:
        with writer.cursor() as writing:
            writing.execute("BEGIN")
            writing.execute("SELECT pg_advisory_xact_lock(%s)", [partitions.LOCK_KEY])

            assert retention.apply(now).in_use == ["fire_records_2024_01"]

            writing.execute("ROLLBACK")
    finally:
        writer.close()
    assert retention.apply(now).dropped == ["fire_records_2024_01"]


@pytest.mark.django_db(transaction=True)
def test_statements_that_were_prepared_before_a_month_was_dropped_go_on() -> None:
    old = datetime(2024, 1, 5, tzinfo=UTC)
    record(old, ended_at=old)
    new = ids.new(clock.now())

    def work() -> None:
        for _ in range(7):  # often enough for every statement to be prepared
            lifecycle.claim([new], worker_id="worker-1")
            verbs.queue_due(limit=10)

    work()
    dropped = retention.apply(clock.now()).dropped
    work()

    assert "task_executions_2024_01" in dropped


@pytest.mark.django_db
def test_only_whole_months_that_ended_are_listed_as_such() -> None:
    january = datetime(2024, 1, 1, tzinfo=UTC)
    february = partitions.next_month(january)
    partitions.ensure(FIRE_RECORDS, [january, february], now=clock.now())
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE fire_records_by_hand PARTITION OF fire_records"
            " FOR VALUES FROM ('2020-01-01') TO ('2020-06-01')"
        )

    ended = partitions.ended(FIRE_RECORDS, before=february)

    assert ended == [Partition(FIRE_RECORDS, january)]
    assert ended[0].end == february
