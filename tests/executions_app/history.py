"""Executions of months that are long past, each with one row of every kind of history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Model

from agents_app.models import ModelCall
from errors_app.models import ErrorRecord
from executions_app import clock, ids, partitions
from executions_app.models import Event, Execution, Step
from scheduler_app.models import FireRecord

KINDS: tuple[type[Model], ...] = (Event, Step, ErrorRecord, ModelCall, FireRecord)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An execution and the ids of its history, by the model's name."""

    id: UUID
    history: dict[str, UUID]

    def left(self, there: set[UUID] | None = None) -> set[str]:
        """What of it is still there (among `there`): `Execution`, `Event`, ..."""
        ids_left = still_there() if there is None else there
        parts = {"Execution": self.id, **self.history}
        return {name for name, one in parts.items() if one in ids_left}


ALL = {"Execution", *(one.__name__ for one in KINDS)}


def record(created_at: datetime, *, ended_at: datetime | None, **changes: Any) -> Recorded:
    """An execution that was created, fired and told of at `created_at`, and ended at `ended_at`."""
    partitions.ensure(partitions.EXECUTIONS, [created_at], now=clock.now())
    values = {
        "id": ids.new(created_at),
        "snapshot": {"name": "a job"},
        "owner_id": 1,
        "due_at": created_at,
        "created_at": created_at,
        "status": "pending" if ended_at is None else "completed",
        "completed_at": ended_at,
        **changes,
    }
    execution = Execution.objects.create(**values)
    return Recorded(execution.id, history(created_at, execution_id=execution.id))


def history(
    at: datetime, *, execution_id: UUID | None, nominal_at: datetime | None = None
) -> dict[str, UUID]:
    """One row of every kind, made at `at`, of an execution or of none (then without a step)."""
    for table in partitions.TABLES[1:]:
        is_fires = table is partitions.FIRE_RECORDS
        partitions.ensure(table, [nominal_at or at if is_fires else at], now=clock.now())
    made = {one.__name__: ids.new(at) for one in KINDS}
    Event.objects.create(id=made["Event"], type="x", topic="y", execution_id=execution_id)
    if execution_id is not None:
        Step.objects.create(
            id=made["Step"], execution_id=execution_id, position=0, status="completed"
        )
    ErrorRecord.objects.create(
        id=made["ErrorRecord"],
        execution_id=execution_id,
        ended_at=at,
        error_class="transient",
        recovery_status="resolved",
    )
    ModelCall.objects.create(
        id=made["ModelCall"],
        execution_id=execution_id,
        provider="a provider",
        model="small",
        phase="plan",
        status="ok",
    )
    FireRecord.objects.create(
        id=made["FireRecord"],
        schedule_id=made["Event"],
        nominal_at=nominal_at or at,
        reason="dispatched",
        execution_id=execution_id,
    )
    return made


def names_of(table: partitions.Table, months: Iterable[datetime]) -> set[str]:
    """Those partitions of these months that exist."""
    return {partitions.Partition(table, one).name for one in months} & set(
        partitions.existing(table)
    )


def orphans(table: partitions.Table) -> int:
    """Rows of history whose execution is gone."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {table.name} r WHERE execution_id IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM task_executions e WHERE e.id = r.execution_id)"
        )
        number: int = cursor.fetchone()[0]
    return number


def still_there() -> set[UUID]:
    """The ids of all executions and of all history."""
    models: tuple[type[Model], ...] = (Execution, *KINDS)
    return {id_ for one in models for id_ in one._default_manager.values_list("pk", flat=True)}
