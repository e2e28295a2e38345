"""Every move of a cycle's row, each one guarded; `selection` gives it its agent.

A cycle moves only for who knows its token, which is the lease token of its execution: after the
execution was given to somebody else, an earlier holder changes nothing. A stage is carried out by
whoever holds it (`stage_token`), for as long as that one renews it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from agents_app.models import Cycle, CycleStage, CycleStatus
from config.env import env
from executions_app.states import LostRace

HOLD: Final = """
UPDATE cycles SET stage_token = %s, stage_expires_at = now() + %s * interval '1 second',
    updated_at = now()
WHERE id = %s AND token = %s AND status = 'running' AND stage = %s
    AND (stage_token IS NULL OR stage_expires_at < now())
RETURNING id
"""
RENEW: Final = """
UPDATE cycles SET stage_expires_at = now() + %s * interval '1 second'
FROM unnest(%s::uuid[], %s::uuid[]) AS i(id, held)
WHERE cycles.id = i.id AND stage_token = i.held AND status = 'running'
RETURNING stage_token
"""
# Stages that nobody carries out: their message was lost, or who held them.
OVERDUE: Final = """
SELECT id FROM cycles
WHERE status = 'running' AND stage IN ('plan', 'summarise', 'schedule')
    AND CASE WHEN stage_token IS NULL THEN updated_at < now() - %s * interval '1 second'
        ELSE stage_expires_at < now() END
ORDER BY id LIMIT %s
"""
SEND_AGAIN: Final = """
UPDATE cycles SET updated_at = now(), redriven = redriven + (stage_token IS NOT NULL)::int,
    stage_token = NULL, stage_expires_at = NULL
WHERE id = %s AND status = 'running'
    AND CASE WHEN stage_token IS NULL THEN updated_at < now() - %s * interval '1 second'
        ELSE stage_expires_at < now() END
RETURNING id
"""
# What its execution has left behind: it ended, or somebody else tries it from the start.
ORPHANS: Final = """
SELECT c.id FROM cycles c JOIN task_executions e ON e.id = c.execution_id
WHERE c.status = 'running'
    AND (e.status <> 'running' OR e.lease_token <> c.token)
ORDER BY c.id LIMIT %s
"""
# Nobody runs a stage or a step of these who could hear that they should stop.
TO_CANCEL: Final = """
SELECT c.id FROM cycles c JOIN task_executions e ON e.id = c.execution_id
WHERE c.status = 'running' AND e.status = 'running' AND e.lease_token = c.token
    AND (e.cancel_requested_at IS NOT NULL OR c.deadline < now())
    AND (c.stage_token IS NULL OR c.stage_expires_at < now())
    AND NOT EXISTS (
        SELECT FROM execution_steps s
        WHERE s.execution_id = c.execution_id AND s.status = 'running'
            AND s.lease_expires_at >= now()
    )
ORDER BY c.id LIMIT %s
"""
# All steps have ended or wait to be queued, and the stage goes on all the same.
STUCK: Final = """
SELECT c.id FROM cycles c
WHERE c.status = 'running' AND c.stage = 'execute'
    AND c.updated_at < now() - %s * interval '1 second'
    AND NOT EXISTS (
        SELECT FROM execution_steps s
        WHERE s.execution_id = c.execution_id AND s.status IN ('queued', 'running')
    )
ORDER BY c.id LIMIT %s
"""
WAITING: Final = """
SELECT id FROM cycles
WHERE status = 'running' AND stage = 'wait' AND updated_at < now() - %s * interval '1 second'
ORDER BY id LIMIT %s
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
    found = Cycle.objects.select_for_update().filter(id=cycle_id).first()
    if found is None:
        raise LostRace("There is no such cycle", cycle_id=cycle_id)
    return found


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
        updated_at=Now(),
    )


def hold_stage(cycle: Cycle, stage: CycleStage) -> UUID:
    """Carry out a stage from now on; answers the token of that. Raises LostRace."""
    held = uuid4()
    if not _ids(HOLD, [held, env.lease_seconds, cycle.id, cycle.token, stage.value]):
        raise LostRace("Somebody else carries out this stage, or it is over", cycle_id=cycle.id)
    return held


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
    if not rows.update(updated_at=Now(), **changes):
        raise LostRace("This cycle belongs to somebody else, or is over", cycle_id=cycle.id)
    for name, value in changes.items():
        setattr(cycle, name, value)


def close(cycle: Cycle, status: CycleStatus, **changes: Any) -> bool:
    """In the caller's transaction: the cycle is over; False if it was."""
    rows = Cycle.objects.filter(id=cycle.id, token=cycle.token, status=CycleStatus.RUNNING)
    changed = rows.update(
        status=status,
        stage_token=None,
        stage_expires_at=None,
        completed_at=Now(),
        updated_at=Now(),
        **changes,
        **({"stage": CycleStage.DONE} if status is CycleStatus.COMPLETED else {}),
    )
    return bool(changed)


def overdue(*, unclaimed_seconds: float, most: int) -> list[UUID]:
    """Cycles whose stage nobody carries out."""
    return _ids(OVERDUE, [unclaimed_seconds, most])


def send_again(cycle_id: UUID, *, unclaimed_seconds: float) -> bool:
    """Whether the caller is the one to send the message of this stage again."""
    return bool(_ids(SEND_AGAIN, [cycle_id, unclaimed_seconds]))


def orphans(*, most: int) -> list[UUID]:
    """Cycles whose execution is over, or is tried by somebody else."""
    return _ids(ORPHANS, [most])


def to_cancel(*, most: int) -> list[UUID]:
    """Cycles that should end, where nothing runs that could hear of it."""
    return _ids(TO_CANCEL, [most])


def stuck(*, idle_seconds: float, most: int) -> list[UUID]:
    """Cycles in which no step is under way though their steps are not summarised yet."""
    return _ids(STUCK, [idle_seconds, most])


def waiting(*, for_seconds: float, most: int) -> list[UUID]:
    """Cycles that have waited for an agent since so long ago, or since somebody looked."""
    return _ids(WAITING, [for_seconds, most])


def _ids(statement: str, parameters: Sequence[Any]) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [row[0] for row in cursor.fetchall()]
