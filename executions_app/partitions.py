"""Monthly partitions of the large tables: how they are declared, made ahead, listed and dropped.

A table is partitioned on its UUIDv7 id (or, for fires, on the nominal instant), so that its
primary key stays one column. There is no DEFAULT partition: it would block creating the real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from django.db import connection, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from executions_app import ids

MONTHS_AHEAD: Final = 3
LOCK_KEY: Final = 0x43414445  # one maker or dropper of partitions at a time


@dataclass(frozen=True, slots=True)
class Table:
    """A partitioned table and the column that its ranges are drawn on."""

    name: str
    key: str = "id"

    def bound(self, instant: datetime) -> str:
        """The literal of a partition bound at `instant`."""
        return str(ids.floor(instant)) if self.key == "id" else instant.isoformat()


EXECUTIONS: Final = Table("task_executions")
STEPS: Final = Table("execution_steps")
EVENTS: Final = Table("events")
ERROR_RECORDS: Final = Table("error_records")
MODEL_CALLS: Final = Table("model_calls")
FIRE_RECORDS: Final = Table("fire_records", key="nominal_at")
TABLES: Final = (EXECUTIONS, STEPS, EVENTS, ERROR_RECORDS, MODEL_CALLS, FIRE_RECORDS)


@dataclass(frozen=True, slots=True)
class Partition:
    """The rows of one month of a table."""

    table: Table
    month: datetime

    @property
    def name(self) -> str:
        return f"{self.table.name}_{self.month:%Y_%m}"

    @property
    def end(self) -> datetime:
        """The first instant that it does not hold."""
        return next_month(self.month)


_known: set[str] = set()


def month_of(instant: datetime) -> datetime:
    """The first instant (UTC) of the month of `instant`."""
    return instant.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def months(first: datetime, last: datetime) -> Iterator[datetime]:
    """The first instants (UTC) of every month from that of `first` to that of `last`."""
    month = month_of(first)
    while month <= last:
        yield month
        month = next_month(month)


def next_month(month: datetime, count: int = 1) -> datetime:
    """The first instant of the month `count` months after `month`."""
    index = month.year * 12 + month.month - 1 + count
    return month.replace(year=index // 12, month=index % 12 + 1, day=1)


def ensure(table: Table, instants: Iterable[datetime], *, now: datetime) -> None:
    """Make the monthly partitions that hold `instants`; cheap for the months around `now`.

    Safe with any number of callers, and in the transaction that needs them. A month before the
    last one may have been dropped by retention since this process saw it: it is looked up each
    time, and kept from being dropped until the transaction ends.
    """
    recent = _first_recent(now)
    for month in sorted({month_of(instant) for instant in instants}):
        partition = Partition(table, month)
        if month < recent:
            _create(partition)
        elif partition.name not in _known:
            if not _exists(partition):
                _create(partition)
            transaction.on_commit(partial(_known.add, partition.name))


def ensure_ahead(now: datetime, tables: Iterable[Table] = TABLES) -> None:
    """Make every table's partitions from last month to MONTHS_AHEAD months after `now`."""
    first = _first_recent(now)
    last = next_month(month_of(now), MONTHS_AHEAD)
    for table in tables:
        ensure(table, months(first, last), now=now)


def _first_recent(now: datetime) -> datetime:
    return next_month(month_of(now), -1)


def existing(table: Table) -> list[str]:
    """The names of the table's partitions, by month."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass",
            [table.name],
        )
        return sorted(row[0] for row in cursor.fetchall())


def make_index(table: Table, name: str, *, suffix: str, what: str) -> None:
    """Outside of transactions: an index of all partitions, while nobody waits for it.

    That of a partitioned table cannot be made concurrently, but those of its partitions can, and
    the table's own takes them over. What an attempt that broke off has left is not valid, and goes.
    `what`: columns and condition; `suffix`: of the names in the partitions.
    """
    broken = """
        SELECT EXISTS (
            SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid
        )
    """
    with connection.cursor() as cursor:
        for partition in existing(table):
            own = f"{partition}_{suffix}"
            cursor.execute(broken, [own])
            if cursor.fetchone()[0]:
                cursor.execute(f"DROP INDEX CONCURRENTLY {own}")
            cursor.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {own} ON {partition} {what}")
        cursor.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {table.name} {what}")


def ended(table: Table, *, before: datetime) -> list[Partition]:
    """The table's partitions whose months ended at or before an instant, the oldest first."""
    monthly = re.compile(rf"{table.name}_(\d{{4}})_(\d{{2}})")
    found = (monthly.fullmatch(name) for name in existing(table))
    made = (
        Partition(table, datetime(int(one[1]), int(one[2]), 1, tzinfo=UTC)) for one in found if one
    )
    return [one for one in made if one.end <= before]


def drop(partition: Partition) -> None:
    """In the caller's transaction: let the partition and its rows go.

    Needs the whole table for an instant: the caller bounds its wait by `lock_timeout`, because
    whoever comes to the table meanwhile waits behind it.
    """
    hold()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {partition.table.name} DETACH PARTITION {partition.name}")
        cursor.execute(f"DROP TABLE {partition.name}")
    _known.discard(partition.name)


def hold() -> None:
    """Until the transaction ends nobody makes or drops a partition, or writes into an old one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])


def forget() -> None:
    """Drop what this process believes to exist (another database is looked at)."""
    _known.clear()


def _exists(partition: Partition) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [partition.name])
        return bool(cursor.fetchone()[0])


def _create(partition: Partition) -> None:
    name, table = partition.name, partition.table
    with connection.cursor() as cursor:
        # CREATE ... PARTITION OF would lock the whole table and wait for every reader of it, a
        # backup included; attaching a table that exists disturbs nobody.
        cursor.execute(
            f"""
            DO $$ BEGIN
                PERFORM pg_advisory_xact_lock({LOCK_KEY});
                IF to_regclass('{name}') IS NULL THEN
                    CREATE TABLE {name} (LIKE {table.name} INCLUDING ALL);
                    ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES
                    FROM ('{table.bound(partition.month)}') TO ('{table.bound(partition.end)}');
                END IF;
            END $$
            """
        )


class CreatePartitionedModel(migrations.CreateModel):
    """CreateModel for a table partitioned by range; `primary_key` where it is not `id` alone."""

    def __init__(self, *args: Any, key: str = "id", primary_key: str = "id", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.key, self.primary_key = key, primary_key

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,  # noqa: ARG002  CreateModel's signature
        to_state: Any,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        sql, params = schema_editor.table_sql(model)
        body = sql.rstrip().removesuffix(")").replace(" PRIMARY KEY", "", 1)
        schema_editor.execute(
            f"{body}, PRIMARY KEY ({self.primary_key})) PARTITION BY RANGE ({self.key})", params
        )
        schema_editor.deferred_sql.extend(schema_editor._model_indexes_sql(model))  # type: ignore[attr-defined]  # noqa: SLF001  CreateModel's own way
