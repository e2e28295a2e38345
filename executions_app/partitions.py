"""Monthly partitions of the large tables: how they are declared, made ahead and listed.

A table is partitioned on its UUIDv7 id (or, for fires, on the nominal instant), so that its
primary key stays one column. There is no DEFAULT partition: it would block creating the real one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from django.db import connection, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from executions_app import ids

MONTHS_AHEAD: Final = 3
LOCK_KEY: Final = 0x43414445  # one maker of partitions at a time


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
FIRE_RECORDS: Final = Table("fire_records", key="nominal_at")
TABLES: Final = (EXECUTIONS, STEPS, EVENTS, ERROR_RECORDS, FIRE_RECORDS)

_known: set[str] = set()


def months(first: datetime, last: datetime) -> Iterator[datetime]:
    """The first instants (UTC) of every month from that of `first` to that of `last`."""
    month = first.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while month <= last:
        yield month
        month = next_month(month)


def next_month(month: datetime, count: int = 1) -> datetime:
    """The first instant of the month `count` months after `month`."""
    index = month.year * 12 + month.month - 1 + count
    return month.replace(year=index // 12, month=index % 12 + 1, day=1)


def ensure(table: Table, instants: Iterable[datetime]) -> None:
    """Make the monthly partitions that hold `instants`; cheap when this process knows them.

    Safe with any number of callers, and in the transaction that needs them.
    """
    wanted = {month for instant in instants for month in months(instant, instant)}
    missing = {
        f"{table.name}_{month:%Y_%m}": month
        for month in sorted(wanted)
        if f"{table.name}_{month:%Y_%m}" not in _known
    }
    for name, month in missing.items():
        _create(table, name, month)
        transaction.on_commit(partial(_known.add, name))


def ensure_ahead(now: datetime, tables: Iterable[Table] = TABLES) -> None:
    """Make every table's partitions from last month to MONTHS_AHEAD months after `now`."""
    first = next_month(now.astimezone(UTC).replace(day=1), -1)
    last = next_month(now.astimezone(UTC).replace(day=1), MONTHS_AHEAD)
    for table in tables:
        ensure(table, months(first, last))


def existing(table: Table) -> list[str]:
    """The names of the table's partitions, by month."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass",
            [table.name],
        )
        return sorted(row[0] for row in cursor.fetchall())


def forget() -> None:
    """Drop what this process believes to exist (after a partition was dropped)."""
    _known.clear()


def _create(table: Table, name: str, month: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0] is not None:
            return
        # CREATE ... PARTITION OF would lock the whole table and wait for every reader of it, a
        # backup included; attaching a table that exists disturbs nobody.
        cursor.execute(
            f"""
            DO $$ BEGIN
                PERFORM pg_advisory_xact_lock({LOCK_KEY});
                IF to_regclass('{name}') IS NULL THEN
                    CREATE TABLE {name} (LIKE {table.name} INCLUDING ALL);
                    ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES
                    FROM ('{table.bound(month)}') TO ('{table.bound(next_month(month))}');
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
