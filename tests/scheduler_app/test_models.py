"""What the tables of "when" hold by themselves: closed words, bounds, what a plain schedule is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from executions_app import clock, ids
from executions_app.models import Execution
from scheduler_app.models import (
    Backfill,
    BusinessCalendar,
    FireRecord,
    Limit,
    RateBucket,
    Schedule,
    UniqueWork,
    WebhookDelivery,
)
from scheduler_app.policies import FireReason, OverlapPolicy
from tests.factories import ExecutionFactory, ScheduleFactory, UserFactory

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def with_columns(schedule: Schedule, **columns: Any) -> Schedule:
    if columns:
        Schedule.objects.filter(id=schedule.id).update(**columns)
    return schedule


def is_plain(**columns: Any) -> bool:
    schedule = with_columns(ScheduleFactory.create(), **columns)
    return bool(Schedule.objects.values_list("is_plain", flat=True).get(id=schedule.id))


def test_a_schedule_that_uses_nothing_more_than_its_rule_is_plain() -> None:
    assert is_plain()
    assert is_plain(overlap_policy=OverlapPolicy.ALLOW, start_at=NOON, pause_after_failures=3)


@pytest.mark.parametrize(
    "columns",
    [
        {"execution_window": {"hours": ["09:00-17:00"]}},
        {"jitter_ms": 1},
        {"spread_ms": 1},
        {"max_runs": 1},
        {"end_at": NOON},
        {"run_ttl_ms": 1000},
        {"max_concurrent": 1},
        {"limit_key": "tenant:{tenant}"},
        {"unique_key": "order:{order}"},
        {"overlap_policy": OverlapPolicy.BUFFER_ONE},
        {"overlap_policy": OverlapPolicy.BUFFER_ALL},
        {"overlap_policy": OverlapPolicy.CANCEL_RUNNING},
    ],
    ids=lambda columns: "-".join(f"{name}" for name in columns),
)
def test_a_schedule_that_uses_one_more_thing_is_not_plain(columns: dict[str, Any]) -> None:
    assert not is_plain(**columns)


def test_a_schedule_with_a_calendar_is_not_plain() -> None:
    calendar = BusinessCalendar.objects.create(
        id=ids.new(clock.now()), owner=UserFactory.create(), name="business days"
    )

    assert not is_plain(calendar=calendar)


def test_a_schedule_becomes_plain_again_when_the_feature_goes() -> None:
    schedule = with_columns(ScheduleFactory.create(), jitter_ms=500)

    Schedule.objects.filter(id=schedule.id).update(jitter_ms=0)

    assert Schedule.objects.get(id=schedule.id).is_plain


@pytest.mark.parametrize(
    "columns",
    [
        {"outside_window": "whenever"},
        {"unique_mode": "sometimes"},
        {"overlap_policy": "queue"},
        {"jitter_ms": -1},
        {"spread_ms": -1},
        {"buffer_limit": 0},
        {"max_runs": 0},
        {"run_ttl_ms": 0},
        {"pause_after_failures": 0},
        {"max_concurrent": 0},
        {"start_at": NOON, "end_at": NOON},
    ],
    ids=lambda columns: "-".join(f"{name}" for name in columns),
)
def test_the_table_refuses_a_schedule_that_makes_no_sense(columns: dict[str, Any]) -> None:
    schedule = ScheduleFactory.create()

    with pytest.raises(IntegrityError), transaction.atomic():
        with_columns(schedule, **columns)


@pytest.mark.parametrize("reason", list(FireReason))
def test_every_reason_can_be_recorded_in_a_partition_that_existed_before(
    reason: FireReason,
) -> None:
    now = clock.now()

    FireRecord.objects.create(
        id=ids.new(now), schedule_id=ids.new(now), nominal_at=now, reason=reason
    )

    assert FireRecord.objects.get().reason == reason


def test_an_unknown_reason_cannot_be_recorded() -> None:
    now = clock.now()

    with pytest.raises(IntegrityError), transaction.atomic():
        FireRecord.objects.create(
            id=ids.new(now), schedule_id=ids.new(now), nominal_at=now, reason="skipped_mood"
        )


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"rate_count": 5},
        {"rate_period_ms": 1000, "max_concurrent": 1},
        {"rate_count": 0, "rate_period_ms": 1000},
        {"max_concurrent": -1},
    ],
    ids=str,
)
def test_the_table_refuses_a_limit_that_says_nothing_or_half(columns: dict[str, int]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Limit.objects.create(id=ids.new(clock.now()), key="system", **columns)


def test_a_limit_of_nothing_at_once_is_a_limit() -> None:
    limit = Limit.objects.create(id=ids.new(clock.now()), key="queue:low", max_concurrent=0)

    assert str(limit) == "queue:low"


def test_rows_that_come_without_an_id_are_given_one() -> None:
    execution_id = ids.new(clock.now())

    work = UniqueWork.objects.create(owner_id=1, key="order:7", execution_id=execution_id)
    delivery = WebhookDelivery.objects.create(schedule_id=execution_id, delivery_id="msg_1")
    work.refresh_from_db()
    delivery.refresh_from_db()

    assert work.id.version == delivery.id.version == 7


def test_an_execution_that_knows_nothing_of_limits_has_no_keys() -> None:
    execution = Execution.objects.get(id=ExecutionFactory.create().id)

    assert (execution.limit_key, execution.unique_key, execution.expires_at) == ("", "", None)


def test_a_backfill_of_a_range_that_ends_before_it_begins_is_refused() -> None:
    columns = {
        "id": ids.new(clock.now()),
        "owner": UserFactory.create(),
        "schedule_id": ids.new(NOON),
    }

    with pytest.raises(IntegrityError), transaction.atomic():
        Backfill.objects.create(range_from=NOON, range_until=NOON - timedelta(seconds=1), **columns)


def test_edits_of_calendars_and_limits_move_their_updated_at() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgname FROM pg_trigger WHERE tgname LIKE '%%_touch'")
        touched = {row[0] for row in cursor.fetchall()}

    assert {"business_calendars_touch", "limits_touch", "task_schedules_touch"} <= touched


def test_a_bucket_is_found_by_its_key() -> None:
    RateBucket.objects.create(key="rate:host:a", tokens=2.5, refreshed_at=NOON)

    assert RateBucket.objects.get(pk="rate:host:a").tokens == 2.5
