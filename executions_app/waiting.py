"""An execution that waits for a person's yes: into `waiting`, and out of it three ways.

What waits holds no lease, so its state alone is the guard of every move: of two people, or of a
person and the clock, the first moves the row and the other finds nothing to move. The attempt that
asked goes on counting until the answer: approved, it is taken back, since the work itself is still
to be tried; any other end is that attempt's. `statements.END_UNSTARTED` cancels what waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from executions_app import prepared
from executions_app.events import insert_select
from executions_app.ledger import Claimed
from executions_app.statements import AGENT, NAMED
from executions_app.states import ExecutionStatus, LostRace, Outcome, check

FOR: Final = "waits for a person to approve its plan"
# Who was asked to stop meanwhile does not wait: nobody would hear of that any more.
ASK: Final = f"""
WITH held AS (
    SELECT id FROM task_executions e
    WHERE id = %s AND status = 'running' AND lease_token = %s AND cancel_requested_at IS NULL
    FOR UPDATE
), moved AS (
    UPDATE task_executions e SET status = 'waiting', lease_token = NULL, lease_expires_at = NULL,
        published_at = NULL, publish_count = 0, updated_at = now(),
        progress = e.progress || jsonb_build_object('current_step', '{FOR}')
    FROM held WHERE e.id = held.id
    RETURNING e.*
), told AS ({
    insert_select(
        type_="'execution:waiting'",
        source="moved",
        data=f"'status', status, {NAMED}, 'attempt', attempt",
    )
})
SELECT attempt, expires_at, now() FROM moved
"""  # noqa: S608  composed of constants of this package only, like all that follow
# It asks for room under its limits again: while it waited, others had its place. It did begin in
# time, so what was to begin by some instant is not expired by it any more.
GO_ON: Final = f"""
WITH free AS (
    SELECT id FROM task_executions WHERE id = %s AND status = 'waiting' FOR UPDATE
), moved AS (
    UPDATE task_executions e SET status = 'pending', attempt = e.attempt - 1, due_at = now(),
        held_by = '', expires_at = NULL, updated_at = now(),
        progress = e.progress - 'current_step'
    FROM free WHERE e.id = free.id
    RETURNING e.*
), told AS ({
    insert_select(
        type_="'execution:approved'",
        source="moved",
        data=f"'status', status, {NAMED}, 'attempt', attempt",
    )
})
SELECT id FROM moved
"""  # noqa: S608
END: Final = f"""
WITH free AS (
    SELECT id FROM task_executions WHERE id = %s AND status = 'waiting' FOR UPDATE
), moved AS (
    UPDATE task_executions e SET status = 'failed', outcome = %s, last_error_id = %s,
        completed_at = now(), updated_at = now(), progress = e.progress - 'current_step'
    FROM free WHERE e.id = free.id
    RETURNING e.*
), inbox AS (
    INSERT INTO outcome_inbox
        (id, execution_id, schedule_id, status, outcome, duration_ms, completed_at)
    SELECT cadenza_uuid7(), id, schedule_id, status, outcome, NULL, completed_at FROM moved
), told AS ({
    insert_select(
        type_="'execution:failed'",
        source="moved",
        data=f"'status', status, 'outcome', outcome, {NAMED}, 'attempt', attempt",
    )
}), told_agents AS ({
    insert_select(
        type_="'agent:failed'",
        source="moved",
        data=f"{NAMED}, {AGENT}, 'status', status, 'outcome', outcome",
    )
})
SELECT id FROM moved
"""  # noqa: S608


class Asked(NamedTuple):
    """An execution that waits from `at` on; `expires_at`: when its first try was to have begun."""

    attempt: int
    expires_at: datetime | None
    at: datetime


def ask(held: Claimed) -> Asked | None:
    """In the caller's transaction: the execution lets go of its lease and waits for a person.

    None, and nothing is changed, if it was asked to stop or its lease is gone.
    """
    check(ExecutionStatus.RUNNING, ExecutionStatus.WAITING)
    row = _row(ASK, [held.id, held.lease_token])
    return None if row is None else Asked(*row)


def go_on(execution_id: UUID) -> None:
    """In the caller's transaction: approved, due now, and no attempt used; raises LostRace."""
    check(ExecutionStatus.WAITING, ExecutionStatus.PENDING)
    _moved(GO_ON, [execution_id])


def end(execution_id: UUID, *, outcome: Outcome, error_id: UUID) -> None:
    """In the caller's transaction: not approved, so failed, and no dead letter; raises LostRace."""
    check(ExecutionStatus.WAITING, ExecutionStatus.FAILED)
    _moved(END, [execution_id, outcome.value, error_id])


def _moved(statement: str, parameters: Sequence[Any]) -> None:
    if _row(statement, parameters) is None:
        raise LostRace("This execution does not wait for anybody any more", id=parameters[0])


def _row(statement: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    return prepared.execute(statement, parameters).fetchone()
