"""What ended goes after 90 days, with its history, month by month; what is needed stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.utils.timezone import is_aware

from errors_app.models import DeadLetter
from executions_app import clock, ids, partitions, retention, tasks
from executions_app.models import (
    AuditEntry,
    Event,
    Execution,
    IdempotencyKey,
    OutcomeInbox,
    WebSocketSession,
)
from scheduler_app.models import FireRecord
from tests.executions_app.history import (
    ALL,
    Recorded,
    history,
    names_of,
    orphans,
    record,
    still_there,
)
from tests.terminal import run

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
MARCH = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
PAST_JANUARY = FEBRUARY + 90 * DAY


def january_partitions() -> set[str]:
    return set().union(*(names_of(table, [JANUARY]) for table in partitions.TABLES))


@pytest.mark.django_db
def test_a_month_goes_as_a_whole_90_days_after_its_end_and_not_a_second_before() -> None:
    first, last = record(JANUARY, ended_at=JANUARY), record(FEBRUARY - SECOND, ended_at=FEBRUARY)
    made = january_partitions()

    retention.apply(PAST_JANUARY - SECOND)

    assert first.left() == last.left() == ALL
    cleared = retention.apply(PAST_JANUARY + SECOND)
    assert set(cleared.dropped) == made
    assert len(made) == len(partitions.TABLES)
    assert first.left() == last.left() == set()
    assert january_partitions() == set()


@pytest.mark.django_db
def test_nothing_goes_before_day_90_and_all_is_gone_by_day_122() -> None:
    """A calendar over runs of moments and of months, begun at the edges of two months."""
    runs = [timedelta(0), timedelta(hours=3), 20 * DAY, 45 * DAY, 61 * DAY]
    begun = [JANUARY, JANUARY + 15 * DAY, FEBRUARY - SECOND, FEBRUARY, FEBRUARY + 28 * DAY]
    ended = {begin + length: record(begin, ended_at=begin + length)
             for begin in begun for length in runs}  # fmt: skip
    seen: dict[datetime, set[str]] = {}

    for day in range(85, 245):
        now = JANUARY + day * DAY
        retention.apply(now)
        there = still_there()
        for end, one in ended.items():
            left = one.left(there)
            age = now - end
            assert left == ALL or age >= 90 * DAY, (end, now, left)
            assert not left or age < 122 * DAY, (end, now, left)
            seen[end] = left

    assert set(seen) == set(ended)
    assert all(not left for left in seen.values())


@pytest.mark.django_db
@pytest.mark.parametrize(
    "needed",
    [
        {"ended_at": None},
        {"ended_at": None, "status": "waiting"},
        {"ended_at": PAST_JANUARY - 89 * DAY},
        {"ended_at": JANUARY, "status": "failed", "dead_letter_at": JANUARY},
    ],
    ids=["pending", "waiting", "ended lately", "in an open dead letter"],
)
def test_what_is_needed_stays_with_its_history_and_its_neighbours_go(
    needed: dict[str, Any],
) -> None:
    needed_one = record(JANUARY, **needed)
    others = [record(JANUARY + one * SECOND, ended_at=JANUARY) for one in range(1, 8)]
    without_execution = history(JANUARY, execution_id=None)

    cleared = retention.apply(PAST_JANUARY)

    assert cleared.dropped == []
    assert needed_one.left() == ALL
    assert {name for one in others for name in one.left()} == set()
    assert not Event.objects.filter(id=without_execution["Event"]).exists()
    assert cleared.rows["task_executions_2024_01"] == len(others)
    assert sum(map(orphans, partitions.TABLES[1:])) == 0


@pytest.mark.django_db
def test_a_dead_letter_that_was_let_go_goes_with_its_execution() -> None:
    handled = record(
        JANUARY, ended_at=JANUARY, status="failed", dead_letter_at=JANUARY, discarded_at=JANUARY
    )
    letter(handled, handling="discarded", handled_at=JANUARY)

    retention.apply(PAST_JANUARY + SECOND)

    assert handled.left() == set()
    assert not DeadLetter.objects.exists()


@pytest.mark.django_db
def test_an_open_dead_letter_stays() -> None:
    kept = record(JANUARY, ended_at=JANUARY, status="failed", dead_letter_at=JANUARY)
    letter(kept)

    retention.apply(PAST_JANUARY + 3650 * DAY)

    assert kept.left() == ALL
    assert DeadLetter.objects.count() == 1


@pytest.mark.django_db
def test_large_work_is_done_over_several_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 3)
    record(JANUARY, ended_at=None)
    for one in range(1, 11):
        record(JANUARY + one * SECOND, ended_at=JANUARY)

    first = retention.apply(PAST_JANUARY, most_rows=4)
    runs = 1
    while not retention.apply(PAST_JANUARY, most_rows=4).is_finished:
        runs += 1

    assert (first.is_finished, sum(first.rows.values())) == (False, 5)
    assert runs > 3
    assert Execution.objects.count() == 1
    assert sum(map(orphans, partitions.TABLES[1:])) == 0


@pytest.mark.django_db
def test_after_every_month_has_gone_no_history_is_without_its_execution() -> None:
    kept = record(JANUARY, ended_at=None)
    long_run = record(JANUARY, ended_at=MARCH)
    told_at_its_end = history(MARCH, execution_id=long_run.id)

    retention.apply(MARCH + 91 * DAY)

    # Its last events are in a month that has not gone as a whole: they follow when that does.
    assert long_run.left() == set()
    assert {one.name: orphans(one) for one in partitions.TABLES[1:]} == {
        "execution_steps": 1, "events": 1, "error_records": 1, "model_calls": 1,
        "fire_records": 1,
    }  # fmt: skip
    retention.apply(datetime(2024, 4, 1, tzinfo=UTC) + 91 * DAY)
    assert sum(map(orphans, partitions.TABLES[1:])) == 0
    assert not Event.objects.filter(id=told_at_its_end["Event"]).exists()
    assert kept.left() == ALL


@pytest.mark.django_db
def test_a_fire_of_long_ago_that_was_recorded_lately_stays() -> None:
    record(JANUARY, ended_at=JANUARY)
    late = history(PAST_JANUARY - DAY, execution_id=None, nominal_at=JANUARY + 5 * DAY)

    cleared = retention.apply(PAST_JANUARY + SECOND)

    assert FireRecord.objects.values_list("id", flat=True).get() == late["FireRecord"]
    assert "fire_records_2024_01" not in cleared.dropped
    assert "task_executions_2024_01" in cleared.dropped
    retention.apply(PAST_JANUARY + 91 * DAY)
    assert not FireRecord.objects.exists()


@pytest.mark.django_db
def test_an_outcome_nobody_has_drawn_yet_outlives_its_execution() -> None:
    ended = record(JANUARY, ended_at=JANUARY)
    OutcomeInbox.objects.create(
        id=ids.new(JANUARY), execution_id=ended.id, status="completed", completed_at=JANUARY
    )

    retention.apply(PAST_JANUARY + SECOND)

    assert OutcomeInbox.objects.count() == 1


@pytest.mark.django_db
def test_what_went_is_audited_and_the_audit_log_is_kept() -> None:
    record(JANUARY, ended_at=JANUARY)
    record(FEBRUARY, ended_at=None)
    record(FEBRUARY, ended_at=FEBRUARY)

    retention.apply(MARCH + 91 * DAY)
    retention.apply(MARCH + 3650 * DAY)

    told = set(AuditEntry.objects.values_list("actor", "action", "object_id"))
    assert ("system", "partition.dropped", "task_executions_2024_01") in told
    assert ("system", "rows.expired", "task_executions_2024_02") in told
    rows = AuditEntry.objects.get(action="rows.expired", object_id="task_executions_2024_02")
    assert rows.after == {"number": 1}


@pytest.mark.django_db
def test_months_that_have_not_passed_are_not_even_looked_at() -> None:
    now = clock.now()
    partitions.ensure_ahead(now)

    assert list(retention.past(now)) == []
    assert retention.apply(now) == retention.Cleared()


@pytest.mark.django_db
def test_closed_sessions_and_remembered_requests_follow_their_own_periods() -> None:
    user, now = User.objects.create_user("somebody"), clock.now()
    for days, is_closed in ((31, True), (29, True), (31, False)):
        at = now - days * DAY - SECOND
        WebSocketSession.objects.create(
            id=ids.new(at), user=user, channel=f"{days}", connected_at=at, last_ping_at=at,
            closed_at=at if is_closed else None,
        )  # fmt: skip
    for hours in (25, 23):
        at = now - timedelta(hours=hours)
        IdempotencyKey.objects.create(
            id=ids.new(at), user=user, key=f"{hours}", request="POST /", body_hash="", created_at=at
        )

    tasks.apply_retention()

    left = WebSocketSession.objects.order_by("id").values_list("channel", "closed_at")
    assert [(channel, at is None or is_aware(at)) for channel, at in left] == [
        ("31", True), ("29", True),
    ]  # fmt: skip
    assert WebSocketSession.objects.filter(channel="31", closed_at__isnull=True).exists()
    assert IdempotencyKey.objects.values_list("key", flat=True).get() == "23"


@pytest.mark.django_db(transaction=True)
def test_a_month_that_is_being_read_goes_later_and_keeps_nobody_waiting() -> None:
    ended = record(JANUARY, ended_at=JANUARY)
    with another_connection() as backup, backup.cursor() as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM task_executions")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")  # whoever does not bound the wait is cancelled

        cleared = retention.apply(PAST_JANUARY + SECOND)

        assert cleared.in_use == ["task_executions_2024_01"]
        reading.execute("COMMIT")
    connection.close()

    again = retention.apply(PAST_JANUARY + SECOND)
    assert "task_executions_2024_01" in again.dropped
    assert ended.left() == set()


@pytest.mark.django_db(transaction=True)
def test_a_run_that_died_is_finished_by_the_next() -> None:
    ended = record(JANUARY, ended_at=JANUARY)
    half = record(FEBRUARY, ended_at=FEBRUARY)
    record(FEBRUARY, ended_at=None)
    with no_audit(), pytest.raises(DatabaseError, match="the disk is full"):
        retention.apply(MARCH + 91 * DAY)
    assert ended.left() == half.left() == ALL
    assert january_partitions()

    retention.apply(MARCH + 91 * DAY)

    assert ended.left() == half.left() == set()
    assert january_partitions() == set()
    clean_up(MARCH)


@pytest.mark.django_db(transaction=True)
def test_of_two_runs_at_once_one_works() -> None:
    record(JANUARY, ended_at=JANUARY)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [retention.LOCK_KEY])

        cleared = retention.apply(PAST_JANUARY + SECOND)

        assert (cleared.dropped, cleared.is_finished) == ([], False)
        cursor.execute("ROLLBACK")
    assert retention.apply(PAST_JANUARY + SECOND).is_finished


@pytest.mark.django_db
def test_the_command_tells_first_and_asks_before_anything_goes() -> None:
    ended = record(JANUARY, ended_at=JANUARY)

    told = run("retention", "--dry-run", "--json")
    refused = run("retention")

    assert told.document["past_as_a_whole"] == ["task_executions_2024_01"]
    assert "events_2024_01" in told.document["past_in_part"]
    assert refused.exit_code == 5
    assert ended.left() == ALL
    done = run("retention", "--yes", "--json")
    assert set(done.document["dropped"]) >= {"task_executions_2024_01", "events_2024_01"}
    assert ended.left() == set()


def letter(of: Recorded, **changes: Any) -> None:
    DeadLetter.objects.create(
        id=ids.new(JANUARY), execution_id=of.id, owner_id=1, payload={}, attempts=1,
        error_class="transient", message="", **changes,
    )  # fmt: skip


@contextmanager
def another_connection() -> Iterator[Any]:
    other = connection.copy()
    try:
        yield other
    finally:
        other.close()


@contextmanager
def no_audit() -> Iterator[None]:
    """Meanwhile the database refuses every entry of the audit log."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON audit_log"
            " FOR EACH ROW EXECUTE FUNCTION full_disk()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER full_disk ON audit_log")
            cursor.execute("DROP FUNCTION full_disk()")


def clean_up(month: datetime) -> None:
    """Take the months that a committed test made away again."""
    Execution.objects.all().delete()
    with transaction.atomic():
        for table in partitions.TABLES:
            for one in partitions.ended(table, before=month):
                partitions.drop(one)
