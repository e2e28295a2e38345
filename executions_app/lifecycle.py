"""Every move of an execution, one verb each; the only writer of executions and steps.

Read top-down this is the life of one execution: create, queue, claim, renew, then one way out of
`running`. Each verb is one guarded statement (through `ledger` where many threads write at once);
a verb that finds its row moved by somebody else says so and has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import DataError, connection, transaction
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from config.env import env
from executions_app import audit, clock, events, ledger, prepared, refusals, scrub, statements
from executions_app.audit import Actor
from executions_app.ledger import Claimed, Leave
from executions_app.models import Execution
from executions_app.newcomers import NewExecution as NewExecution
from executions_app.newcomers import columns
from executions_app.states import ExecutionStatus, LostRace, Outcome, check

HANDED_BACK_UNSTARTED: Final = 1


_claims = ledger.GroupCommit[ledger.Claim, Claimed | None](
    lambda requests: ledger.claim(requests, lease_seconds=env.lease_seconds)
)
_leaves = ledger.GroupCommit[Leave, bool](ledger.leave)


def create(rows: Sequence[NewExecution]) -> dict[UUID, int]:
    """Insert executions in the caller's transaction; answers their short numbers by id."""
    if not rows:
        return {}
    return dict(prepared.execute(statements.CREATE, columns(rows)).fetchall())


def claim(ids: Sequence[UUID], *, worker_id: str) -> list[Claimed]:
    """Take queued executions to run them: a new lease token and one more attempt each.

    Executions that are not queued (duplicates of a message, cancelled ones) are left out.
    """
    return _claim([ledger.Claim(one, worker_id, len(ids)) for one in ids])


def claim_apart(ids: Sequence[UUID], *, worker_id: str) -> list[Claimed]:
    """As `claim`, for executions that do not wait for one another."""
    return _claim([ledger.Claim(one, worker_id) for one in ids])


def _claim(requests: Sequence[ledger.Claim]) -> list[Claimed]:
    answers = _claims.submit_all(requests)
    claimed = [one for one in answers if isinstance(one, Claimed)]
    refusals.claims.add(answers.count(None))
    if not claimed:
        ledger.raise_failures(answers)
    return claimed


def renew(leases: Mapping[UUID, UUID]) -> set[UUID]:
    """Extend leases ({id: token}); answers the ids still held. The rest belong to others now."""
    tokens = list(leases.values())
    cursor = prepared.execute(statements.RENEW, [list(leases), tokens, env.lease_seconds])
    return {row[0] for row in cursor.fetchall()}


def cancel_requests(ids: Sequence[UUID]) -> set[UUID]:
    """Which of these running executions were asked to stop."""
    return set(
        Execution.objects.filter(
            id__in=ids, status=ExecutionStatus.RUNNING, cancel_requested_at__isnull=False
        ).values_list("id", flat=True)
    )


def report_progress(claimed: Claimed, progress: Mapping[str, Any]) -> None:
    """Store and tell how far a running execution is; raises LostRace without the lease."""
    with transaction.atomic():
        moved = Execution.objects.filter(
            id=claimed.id, status=ExecutionStatus.RUNNING, lease_token=claimed.lease_token
        ).update(progress=dict(progress))
        if not moved:
            raise _refused(claimed.id)
        told = ["execution:progress"]
        if claimed.snapshot.get("task_type") == "agent":
            told.append("agent:progress")
        events.emit([_event(claimed, type_, progress) for type_ in told])
    events.announce()


def completion(
    claimed: Claimed,
    *,
    output: Any,
    outcome: Outcome = Outcome.OK,
    duration_ms: float | None = None,
    began_after_ms: float = 0.0,
) -> Leave:
    """The one good outcome of an execution, to be stored by `leave_all`."""
    text, truncated = scrub.storable_json(output, max_bytes=env.result_max_bytes)
    return Leave(
        claimed.id,
        claimed.lease_token,
        ExecutionStatus.COMPLETED,
        outcome,
        result=text,
        result_truncated=truncated,
        duration_ms=duration_ms,
        began_after_ms=began_after_ms,
        usage=claimed.usage,
    )


def cancellation(claimed: Claimed) -> Leave:
    """The end of a running execution that stopped because it was asked to."""
    return Leave(
        claimed.id,
        claimed.lease_token,
        ExecutionStatus.CANCELLED,
        Outcome.CANCELLED,
        usage=claimed.usage,
    )


def return_unstarted(claimed: Claimed) -> Leave:
    """The way back of an execution that was claimed and never started: nothing was tried."""
    return Leave(
        claimed.id,
        claimed.lease_token,
        ExecutionStatus.QUEUED,
        attempts_back=HANDED_BACK_UNSTARTED,
    )


def leave_all(moves: Sequence[Leave]) -> list[LostRace | DataError | None]:
    """Store moves out of `running`, durably; for each None, or why nothing was written for it."""
    for one in moves:
        check(ExecutionStatus.RUNNING, one.status)
    answers = _leaves.submit_all(moves)
    ledger.raise_failures(answers)
    return [
        answer if isinstance(answer, DataError) else None if answer else _refused(move.execution_id)
        for move, answer in zip(moves, answers, strict=True)
    ]


def stop_now(held: Claimed) -> None:
    """In the caller's transaction: cancelled, for a failed or lost attempt that was to stop."""
    leave_now(cancellation(held))


def send_alone(held: Claimed) -> None:
    """In the caller's transaction: back to its queue, uncharged, to travel alone from now on."""
    leave_now(
        Leave(
            held.id,
            held.lease_token,
            ExecutionStatus.QUEUED,
            attempts_back=HANDED_BACK_UNSTARTED,
            travels_alone=True,
        )
    )


def retry_at(held: Claimed, *, due_at: datetime, outcome: Outcome, error_id: UUID) -> None:
    """In the caller's transaction: back to pending until `due_at`, after a failed attempt."""
    leave_now(
        Leave(
            held.id,
            held.lease_token,
            ExecutionStatus.PENDING,
            outcome,
            due_at=due_at,
            last_error_id=error_id,
            usage=held.usage,
        )
    )


def give_up(held: Claimed, *, outcome: Outcome, error_id: UUID, result: Any = None) -> None:
    """In the caller's transaction: failed for good, a dead letter."""
    text, truncated = scrub.storable_json(result, max_bytes=env.result_max_bytes)
    leave_now(
        Leave(
            held.id,
            held.lease_token,
            ExecutionStatus.FAILED,
            outcome,
            result=None if result is None else text,
            result_truncated=truncated,
            last_error_id=error_id,
            is_dead_letter=True,
            usage=held.usage,
        )
    )


def cancel(execution: Execution, *, actor: Actor = audit.SYSTEM) -> ExecutionStatus:
    """Cancel what has not started; ask what runs to stop. Answers the status it now has.

    Raises IllegalMove when the execution has already ended.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.END_UNSTARTED, [[execution.id], Outcome.CANCELLED.value])
        status = ExecutionStatus.CANCELLED
        if not cursor.fetchone():
            cursor.execute(statements.ASK_TO_STOP, [[execution.id]])
            status = ExecutionStatus.RUNNING
            if not cursor.fetchone():
                execution.refresh_from_db(fields=["status"])
                check(ExecutionStatus(execution.status), ExecutionStatus.CANCELLED)
                raise LostRace("The execution moved meanwhile; try again", id=execution.id)
        audit.record(
            actor,
            "execution.cancelled",
            object_type="execution",
            object_id=execution.id,
            now=clock.now(),
            after={"status": status.value},
        )
    events.announce()
    return status


def requeue(ids: Sequence[UUID], *, budget: int) -> set[UUID]:
    """In the caller's transaction: failed executions back to pending with `budget` more tries."""
    return requeue_each(dict.fromkeys(ids, budget))


def requeue_each(budgets: Mapping[UUID, int]) -> set[UUID]:
    """The same with a budget for each ({id: more tries})."""
    chosen = list(budgets)
    with connection.cursor() as cursor:
        cursor.execute(statements.REQUEUE, [chosen, list(budgets.values()), chosen])
        return {row[0] for row in cursor.fetchall()}


def due_now(ids: Sequence[UUID]) -> int:
    """In the caller's transaction: let pending executions be dispatched by the next round."""
    pending = Execution.objects.filter(id__in=ids, status=ExecutionStatus.PENDING)
    return pending.update(due_at=Now(), updated_at=Now())


def edit_parameters(execution_id: UUID, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """In the transaction that has just made it pending: other parameters; answers the former.

    Raises LostRace if it is not pending.
    """
    pending = Execution.objects.filter(id=execution_id, status=ExecutionStatus.PENDING)
    former = pending.select_for_update().values_list("parameters", flat=True).first()
    if former is None:
        raise LostRace("The execution moved meanwhile; read it again", id=execution_id)
    pending.update(parameters=dict(parameters), updated_at=Now())
    return dict(former)


def discard(ids: Sequence[UUID]) -> int:
    """In the caller's transaction: mark failed executions as let go by a person."""
    failed = Execution.objects.filter(id__in=ids, status=ExecutionStatus.FAILED)
    return failed.update(discarded_at=Now(), updated_at=Now())


def add_result(execution_id: UUID, output: Callable[[], Any]) -> None:
    """In the caller's transaction: what a failed execution has to show, if it shows nothing yet."""
    is_bare = Q(result__isnull=True) | Q(result={})
    bare = Execution.objects.filter(is_bare, id=execution_id, status=ExecutionStatus.FAILED)
    if bare.exists():
        kept, is_cut = scrub.storable_json(output(), max_bytes=env.result_max_bytes)
        shown = RawSQL("%s::jsonb", [kept])
        bare.update(result=shown, result_truncated=is_cut, updated_at=Now())


def leave_now(move: Leave) -> None:
    """Apply one move in the caller's transaction; raises LostRace if the lease is gone."""
    check(ExecutionStatus.RUNNING, move.status)
    if not ledger.leave([move])[0]:
        raise _refused(move.execution_id)


def _refused(execution_id: UUID) -> LostRace:
    refusals.writes.add()  # nothing was written
    return LostRace("The lease of this execution is gone", execution_id=execution_id)


def _event(claimed: Claimed, type_: str, data: Mapping[str, Any]) -> events.NewEvent:
    return events.NewEvent(
        type=type_,
        topic=f"execution:{claimed.id}",
        data={"number": claimed.number, "name": claimed.snapshot.get("name"), **data},
        owner_id=claimed.owner_id,
        schedule_id=claimed.schedule_id,
        execution_id=claimed.id,
    )
