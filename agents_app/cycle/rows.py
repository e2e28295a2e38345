"""Every move of a cycle's row, each one guarded; `selection` gives it its agent.

A cycle moves only for who knows its token, which is the lease token of its execution: after the
execution was given to somebody else, an earlier holder changes nothing. A stage is carried out by
whoever holds it (`stage_token`), for as long as that one renews it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import connection
from django.db.models import Field, JSONField, Q, QuerySet
from django.db.models.functions import Now

from agents_app.cycle import overdue
from agents_app.models import Cycle, CycleStage, CycleStatus
from config.env import env
from executions_app import prepared
from executions_app.states import LostRace

# What only a stage reads: whoever moves steps reads the row for each of them.
LARGE: Final = ("context", "analysis", "plan")
FIELDS: Final = Cycle._meta.concrete_fields  # noqa: SLF001  Django's documented API
SMALL: Final = tuple(one for one in FIELDS if one.name not in LARGE)
COLUMNS: Final = {of: ", ".join(str(one.column) for one in of) for of in (FIELDS, SMALL)}
SHARE: Final = f"SELECT {COLUMNS[SMALL]} FROM cycles WHERE id = %s FOR SHARE"  # noqa: S608  own columns
LOCK: Final = f"SELECT {COLUMNS[SMALL]} FROM cycles WHERE id = %s FOR UPDATE"  # noqa: S608  own columns
LOCK_WAITING: Final = f"""
SELECT {COLUMNS[SMALL]} FROM cycles WHERE id = %s AND status = 'running' AND stage = 'wait'
FOR UPDATE SKIP LOCKED
"""  # noqa: S608  own columns
HOLD: Final = f"""
UPDATE cycles SET stage_token = %s, stage_expires_at = now() + %s * interval '1 second',
    look_at = now() + %s * interval '1 second', updated_at = now()
WHERE id = %s AND status = 'running' AND stage IN ('plan', 'summarise', 'schedule')
    AND (stage_token IS NULL OR stage_expires_at < now())
RETURNING {COLUMNS[FIELDS]}
"""  # noqa: S608  own columns
# `look_at` stays: whoever looks finds it renewed, and the row keeps its place in every index.
RENEW: Final = """
UPDATE cycles SET stage_expires_at = now() + %s * interval '1 second'
FROM unnest(%s::uuid[], %s::uuid[]) AS i(id, held)
WHERE cycles.id = i.id AND stage_token = i.held AND status = 'running'
RETURNING stage_token
"""


def insert(cycle: Cycle) -> None:
    """In the caller's transaction: a cycle begins."""
    cycle.save(force_insert=True)


def of_execution(execution_id: UUID) -> Cycle | None:
    """The cycle of an execution, locked until the transaction ends."""
    return Cycle.objects.select_for_update().filter(execution_id=execution_id).first()


def find(cycle_id: UUID) -> Cycle:
    """A cycle as it stands; raises LostRace if there is none."""
    found = Cycle.objects.filter(id=cycle_id).first()
    if found is None:
        raise LostRace("There is no such cycle", cycle_id=cycle_id)
    return found


def lock(cycle_id: UUID) -> Cycle:
    """In the caller's transaction: nobody else moves this cycle or its steps; raises LostRace."""
    return _known(LOCK, cycle_id)


def lock_waiting(cycle_id: UUID) -> Cycle | None:
    """In the caller's transaction: a cycle that waits for an agent; None if somebody is at it."""
    row = prepared.execute(LOCK_WAITING, [cycle_id]).fetchone()
    return None if row is None else _cycle(row, SMALL)


def share(cycle_id: UUID) -> Cycle:
    """The same, but others may hold it so at the same time: for whoever moves one step of it only.

    The steps of a wave begin beside each other, and not one after the other.
    """
    return _known(SHARE, cycle_id)


def take_over(
    cycle: Cycle, *, token: UUID, deadline: datetime, seen: tuple[int, datetime | None]
) -> None:
    """In the caller's transaction, locked: another attempt goes on, once it has an agent again."""
    cycle.token, cycle.deadline, cycle.stage = token, deadline, CycleStage.WAIT
    cycle.status, cycle.completed_at, cycle.agent_id = CycleStatus.RUNNING, None, None
    Cycle.objects.filter(id=cycle.id).update(
        token=token,
        deadline=deadline,
        stage=CycleStage.WAIT,
        agent_id=None,
        advice=None,
        decision_id=None,
        seen_version=seen[0],
        seen_next_run_at=seen[1],
        status=CycleStatus.RUNNING,
        completed_at=None,
        stage_token=None,
        stage_expires_at=None,
        redriven=0,
        look_at=overdue.soon(),
        updated_at=Now(),
    )


def hold_stage(cycle_id: UUID) -> Cycle | None:
    """Carry out the stage that a cycle stands at from now on, under its `stage_token`.

    None if somebody else does, or there is nothing to carry out.
    """
    lease = env.lease_seconds
    row = prepared.execute(HOLD, [uuid4(), lease, lease, cycle_id]).fetchone()
    return None if row is None else _cycle(row, FIELDS)


def renew(held: Mapping[UUID, UUID]) -> set[UUID]:
    """Go on carrying out stages ({stage token: cycle}); answers the tokens that are still held."""
    return set(_ids(RENEW, [env.lease_seconds, list(held.values()), list(held)]))


def move(cycle: Cycle, **changes: Any) -> None:
    """In the caller's transaction: change a running cycle under its token; raises LostRace."""
    _change(cycle, Q(), changes)


def note(cycle: Cycle, *, held: UUID, **changes: Any) -> None:
    """The same for who carries out a stage, and goes on doing so."""
    _change(cycle, Q(stage_token=held), changes)


def leave_stage(cycle: Cycle, *, held: UUID, **changes: Any) -> None:
    """The same for who carries out a stage: it is let go."""
    _change(cycle, Q(stage_token=held), {**changes, "stage_token": None, "stage_expires_at": None})


def _change(cycle: Cycle, condition: Q, changes: Mapping[str, Any]) -> None:
    rows = Cycle.objects.filter(
        condition, id=cycle.id, token=cycle.token, status=CycleStatus.RUNNING
    )
    if not rows.update(updated_at=Now(), look_at=overdue.soon(), **changes):
        raise LostRace("This cycle belongs to somebody else, or is over", cycle_id=cycle.id)
    _set(cycle, changes)


def _set(cycle: Cycle, changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        setattr(cycle, name, value)


def close(cycle: Cycle, status: CycleStatus, **changes: Any) -> bool:
    """In the caller's transaction: the cycle is over; False if it was."""
    mine = Cycle.objects.filter(id=cycle.id, token=cycle.token, status=CycleStatus.RUNNING)
    return _close(mine, cycle, status, changes)


def close_waiting(cycle: Cycle, status: CycleStatus) -> bool:
    """The same for one that waits for a person; False if it goes on, or was over."""
    waiting = Cycle.objects.filter(id=cycle.id, status=CycleStatus.WAITING)
    return _close(waiting, cycle, status, {})


def _close(
    rows: QuerySet[Cycle], cycle: Cycle, status: CycleStatus, changes: Mapping[str, Any]
) -> bool:
    _set(cycle, changes)
    changed = rows.update(
        status=status,
        stage_token=None,
        stage_expires_at=None,
        completed_at=Now(),
        look_at=overdue.once_over(cycle.execution_id),
        updated_at=Now(),
        **changes,
        **({"stage": CycleStage.DONE} if status is CycleStatus.COMPLETED else {}),
    )
    return bool(changed)


def _known(statement: str, cycle_id: UUID) -> Cycle:
    assert connection.in_atomic_block  # else the lock would be gone before anybody could use it
    row = prepared.execute(statement, [cycle_id]).fetchone()
    if row is None:
        raise LostRace("There is no such cycle", cycle_id=cycle_id)
    return _cycle(row, SMALL)


def _cycle(row: Sequence[Any], fields: Sequence[Field[Any, Any]]) -> Cycle:
    """The model's instance, as a query of Django's would have made it."""
    values = [
        json.loads(value) if isinstance(field, JSONField) and value is not None else value
        for field, value in zip(fields, row, strict=True)
    ]
    return Cycle.from_db(connection.alias, [str(one.attname) for one in fields], values)


def _ids(statement: str, parameters: Sequence[Any]) -> list[UUID]:
    return [row[0] for row in prepared.execute(statement, parameters).fetchall()]
