"""What the database itself holds: tables, triggers, partitions, ids, and the order of events."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from executions_app import audit, clock, events, ids, partitions
from executions_app.events import NewEvent
from executions_app.models import ApiToken, AuditEntry, Event, SystemState

NAMED = {
    "task_schedules", "task_executions", "execution_steps", "fire_records", "outcome_inbox",
    "error_records", "dead_letters", "events", "websocket_sessions", "audit_log", "system_state",
    "api_tokens",
}  # fmt: skip


@pytest.mark.django_db
def test_every_table_has_its_name() -> None:
    assert set(connection.introspection.table_names()) >= NAMED


@pytest.mark.django_db
def test_the_large_tables_are_partitioned_three_months_ahead() -> None:
    now = clock.now()

    partitions.ensure_ahead(now)

    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relispartition")
        existing = {row[0] for row in cursor.fetchall()}
    last = partitions.next_month(now.replace(day=1), 3)
    for table in partitions.TABLES:
        assert f"{table.name}_{now:%Y_%m}" in existing
        assert f"{table.name}_{last:%Y_%m}" in existing


@pytest.mark.django_db
def test_partitions_appear_around_a_new_year_and_ids_find_them() -> None:
    new_year = datetime(2031, 1, 1, tzinfo=UTC)
    last_year = new_year - timedelta(milliseconds=1)
    partitions.ensure(partitions.EVENTS, [last_year, new_year], now=clock.now())

    for instant in (last_year, new_year):
        Event.objects.create(id=ids.new(instant), xid=1, type="x", topic="y")

    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM events ORDER BY id")
        assert [row[0] for row in cursor.fetchall()] == ["events_2030_12", "events_2031_01"]


@pytest.mark.django_db(transaction=True)
def test_a_partition_is_made_while_a_backup_reads_its_table() -> None:
    backup = connection.copy()
    backup.set_autocommit(False)
    try:
        with backup.cursor() as reading:
            reading.execute("SELECT count(*) FROM events")

        partitions.ensure(partitions.EVENTS, [datetime(2032, 1, 1, tzinfo=UTC)], now=clock.now())
    finally:
        backup.close()

    assert "events_2032_01" in partitions.existing(partitions.EVENTS)


@pytest.mark.django_db
def test_a_partition_of_a_transaction_that_was_undone_is_made_again() -> None:
    instant = datetime(2033, 1, 1, tzinfo=UTC)
    with suppress(RuntimeError), transaction.atomic():
        partitions.ensure(partitions.EVENTS, [instant], now=clock.now())
        raise RuntimeError

    partitions.ensure(partitions.EVENTS, [instant], now=clock.now())

    assert "events_2033_01" in partitions.existing(partitions.EVENTS)


def test_ids_sort_by_their_instant() -> None:
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    instants = [noon + timedelta(milliseconds=one) for one in range(50)]

    made = [ids.new(one) for one in instants]

    assert made == sorted(made)
    assert all(ids.floor(instant) <= one for instant, one in zip(instants, made, strict=True))
    assert {one.version for one in made} == {7}


@pytest.mark.django_db
def test_the_databases_own_ids_have_the_instant_of_their_making() -> None:
    now = clock.now()

    events.emit([NewEvent("execution:queued", "execution:1")])

    made = Event.objects.get().id
    assert made.version == 7
    assert ids.floor(now) <= made < ids.floor(now + timedelta(seconds=30))


@pytest.mark.django_db
def test_the_events_of_one_transaction_keep_their_order() -> None:
    begin = events.end()
    with transaction.atomic():
        for number in range(50):
            events.emit([NewEvent("execution:progress", "execution:1", {"n": number})])

    made = Event.objects.filter(xid__gt=begin.xid).order_by("xid", "id")

    assert [one.data["n"] for one in made] == list(range(50))


@pytest.mark.django_db
@pytest.mark.parametrize("statement", ["UPDATE audit_log SET note = 'x'", "DELETE FROM audit_log"])
def test_the_audit_log_cannot_be_changed(statement: str) -> None:
    audit.record(audit.SYSTEM, "did", object_type="it", object_id=1, now=clock.now())

    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)

    assert AuditEntry.objects.get().note == ""


@pytest.mark.django_db(transaction=True)
def test_a_bulk_update_moves_updated_at() -> None:
    owner = User.objects.create_user("owner")
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    ApiToken.objects.create(
        id=ids.new(clock.now()), user=owner, name="a", prefix="p", token_hash="h"
    )

    ApiToken.objects.update(name="b", updated_at=long_ago)

    assert ApiToken.objects.get().updated_at > long_ago


@pytest.mark.django_db
def test_there_is_only_one_system_state() -> None:
    with pytest.raises(DatabaseError, match="system_state_single_row"), transaction.atomic():
        SystemState.objects.create(id=2)


@pytest.mark.django_db(transaction=True)
def test_migrations_go_back_and_forth() -> None:
    for app in ("scheduler_app", "errors_app", "executions_app"):
        call_command("migrate", app, "zero", verbosity=0)
    assert not NAMED & set(connection.introspection.table_names())

    partitions.forget()
    call_command("migrate", verbosity=0)

    assert set(connection.introspection.table_names()) >= NAMED


@pytest.mark.django_db(transaction=True)
def test_a_reader_never_skips_an_event_of_concurrent_writers() -> None:
    writers, each = 4, 40
    begin = events.end()
    seen: list[UUID] = []
    all_written = threading.Event()

    def write(number: int) -> None:
        try:
            for part in range(each):
                with transaction.atomic():
                    events.emit(
                        [NewEvent("execution:progress", f"execution:{number}", {"n": part})]
                    )
                    with connection.cursor() as cursor:
                        # Transactions of different length: ids and commits disagree.
                        cursor.execute("SELECT pg_sleep(%s)", [0.001 * ((part * number) % 7)])
        finally:
            connection.close()

    def read() -> None:
        cursor = begin
        try:
            while True:
                is_last = all_written.is_set()
                rows = events.after(cursor, limit=20)
                seen.extend(one.cursor.id for one in rows)
                if rows:
                    cursor = rows[-1].cursor
                elif is_last:
                    return
        finally:
            connection.close()

    with ThreadPoolExecutor(writers + 1) as pool:
        reading = pool.submit(read)
        for future in [pool.submit(write, number) for number in range(writers)]:
            future.result()
        all_written.set()
        reading.result()

    assert len(seen) == writers * each
    assert len(set(seen)) == writers * each
