"""One path for every failed attempt: classify, record, then another try or the dead letters.

`decide` is pure; `recover` applies what it says in one transaction. A retry is only a later due
time on the row: the dispatcher does the rest. `settle` closes the error records of an execution
once it has ended.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from pydantic import ValidationError

from errors_app import backoff, taxonomy
from errors_app.backoff import RetryPolicy
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import Classified, ErrorClass, Severity, WorkerLost
from errors_app.telling import told
from executions_app import clock, events, ids, lifecycle
from executions_app.ledger import Claimed
from executions_app.models import Execution
from executions_app.states import ExecutionStatus, Outcome, RecoveryStatus

OPEN: Final = (
    RecoveryStatus.PENDING,
    RecoveryStatus.RETRY_SCHEDULED,
    RecoveryStatus.RETRYING,
)
SETTLED_BY: Final[Mapping[str, RecoveryStatus]] = {
    ExecutionStatus.COMPLETED: RecoveryStatus.RESOLVED,
    ExecutionStatus.FAILED: RecoveryStatus.ESCALATED,
    ExecutionStatus.CANCELLED: RecoveryStatus.IGNORED,
}
OUTCOMES: Final = {ErrorClass.TIMEOUT: Outcome.TIMEOUT, ErrorClass.LOST: Outcome.LOST}

MOST_LOST: Final = 3  # whatever the policy says: what kills its worker stops all work beside it

UNREADABLE: Final = RetryPolicy(max_retries=0, retryable_classes=())  # then nothing is retried


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at `due_at`."""

    due_at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt; `reason` in words for the error record."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The attempt failed after somebody asked it to stop: it is cancelled, not retried."""


Decision = RetryAt | GiveUp


def decide(
    failure: Classified,
    *,
    attempt: int,
    max_attempts: int,
    policy: RetryPolicy,
    now: datetime,
    rng: random.Random,
    lost: int = 0,
) -> Decision:
    """Whether attempt number `attempt` (from 1) is followed by another, and when.

    A server's Retry-After is a floor under the backoff, bounded by the policy's cap. `lost` is how
    many attempts of this budget took their worker with them, this one included.
    """
    if attempt >= max_attempts:
        return GiveUp(f"all {max_attempts} attempts are used up")
    if failure.error_class not in policy.retryable_classes:
        return GiveUp(f"errors of class {failure.error_class.value!r} are not retried")
    if lost >= MOST_LOST:
        return GiveUp(f"its worker was lost in {lost} attempts: the work itself may be the cause")
    wait = backoff.delay(
        attempt,
        strategy=policy.strategy,
        base_ms=policy.base_ms,
        cap_ms=policy.cap_ms,
        jitter=policy.jitter,
        rng=rng,
    )
    if failure.retry_after is not None:
        asked = timedelta(seconds=min(failure.retry_after, policy.cap_ms / 1000))
        wait = max(wait, asked)
    return RetryAt(now + wait)


def recover(held: Claimed, error: BaseException, *, rng: random.Random) -> Decision | Stopped:
    """Record the failed attempt of a held execution and move the execution on.

    Raises LostRace, having written nothing, if the lease is gone.
    """
    failure = taxonomy.classify(error)
    with transaction.atomic():
        now = clock.now()
        if lifecycle.cancel_requests([held.id]):
            lifecycle.stop_now(held)
            decision: Decision | Stopped = Stopped()
        else:
            policy = _policy_of(held)
            decision = decide(
                failure,
                attempt=held.attempt,
                max_attempts=held.max_attempts,
                policy=policy,
                now=now,
                rng=rng,
                lost=_lost(held, failure, policy),
            )
            _apply(held, failure, decision, now=now)
    events.announce()
    return decision


def _policy_of(held: Claimed) -> RetryPolicy:
    try:
        return RetryPolicy.model_validate(held.snapshot.get("retry_policy", {}))
    except ValidationError:
        return UNREADABLE


def _lost(held: Claimed, failure: Classified, policy: RetryPolicy) -> int:
    """How many attempts of this budget took their worker with them, if this one did.

    A worker that was told to stop, or a lease that a person ended, speaks against nobody's work.
    """
    crash = WorkerLost.__qualname__
    if failure.exception_type != crash:
        return 0
    before_this_budget = held.max_attempts - (policy.max_retries + 1)
    earlier = ErrorRecord.objects.filter(
        execution_id=held.id, exception_type=crash, attempt__gt=before_this_budget
    )
    return earlier.count() + 1


def _apply(held: Claimed, failure: Classified, decision: Decision, *, now: datetime) -> None:
    record = _record(held, failure, decision, now=now)
    outcome = OUTCOMES.get(failure.error_class, Outcome.ERROR)
    match decision:
        case RetryAt(due_at):
            lifecycle.retry_at(held, due_at=due_at, outcome=outcome, error_id=record.id)
        case GiveUp():
            lifecycle.give_up(held, outcome=outcome, error_id=record.id, result=failure.context)
            _bury(held, record, now=now)
    record.save(force_insert=True)
    events.emit([told("error:recorded", record)])


def _record(
    held: Claimed, failure: Classified, decision: Decision, *, now: datetime
) -> ErrorRecord:
    is_retry = isinstance(decision, RetryAt)
    return ErrorRecord(
        id=ids.new(now),
        execution_id=held.id,
        schedule_id=held.schedule_id,
        owner_id=held.owner_id,
        attempt=held.attempt,
        worker_id=held.worker_id,
        started_at=held.started_at,
        ended_at=now,
        error_class=failure.error_class,
        exception_type=failure.exception_type,
        message=failure.message,
        stack=failure.stack,
        context={
            "name": held.snapshot.get("name"),
            "task_type": held.snapshot.get("task_type"),
            "trigger": held.trigger,
            "attempt": held.attempt,
            "max_attempts": held.max_attempts,
            **({} if is_retry else {"given_up": decision.reason}),  # type: ignore[union-attr]
            **failure.context,
        },
        severity=failure.severity if is_retry else Severity.HIGH,
        fingerprint=failure.fingerprint,
        recovery_status=RecoveryStatus.RETRY_SCHEDULED if is_retry else RecoveryStatus.ESCALATED,
        retry_at=decision.due_at if isinstance(decision, RetryAt) else None,
        created_at=now,
        updated_at=now,
    )


def _bury(held: Claimed, record: ErrorRecord, *, now: datetime) -> None:
    DeadLetter.objects.create(
        id=ids.new(now),
        execution_id=held.id,
        schedule_id=held.schedule_id,
        owner_id=held.owner_id,
        payload={"snapshot": held.snapshot, "parameters": held.parameters},
        attempts=held.attempt,
        last_error_id=record.id,
        error_class=record.error_class,
        message=record.message,
        created_at=now,
    )


def record_schedule_failure(
    *, schedule_id: UUID, owner_id: int, error: BaseException, now: datetime, note: str
) -> None:
    """In the caller's transaction: the record of a schedule that could not be dispatched."""
    failure = taxonomy.classify(error)
    record = ErrorRecord.objects.create(
        id=ids.new(now),
        schedule_id=schedule_id,
        owner_id=owner_id,
        ended_at=now,
        error_class=ErrorClass.PERMANENT,
        exception_type=failure.exception_type,
        message=failure.message,
        stack=failure.stack,
        context=failure.context,
        severity=Severity.HIGH,
        fingerprint=failure.fingerprint,
        recovery_status=RecoveryStatus.ESCALATED,
        note=note,
        created_at=now,
        updated_at=now,
    )
    events.emit([told("error:recorded", record)])


def mark_retrying(execution_ids: Sequence[UUID]) -> None:
    """In the caller's transaction: the scheduled retries of these executions are on their way."""
    _move(hold(execution_ids, RecoveryStatus.RETRY_SCHEDULED), RecoveryStatus.RETRYING)


def take_up(execution_ids: Sequence[UUID]) -> None:
    """In the transaction that lets these be tried again: what nobody closed follows them."""
    held = hold(execution_ids, *OPEN, RecoveryStatus.ESCALATED)
    waiting = [one for one in held if one.recovery_status != RecoveryStatus.RETRYING]
    _move(waiting, RecoveryStatus.RETRYING)


def settle(ended: Mapping[UUID, str]) -> None:
    """In the caller's transaction: close what is open of executions that ended ({id: status}).

    One that a person has given a new budget meanwhile has not ended any more: it is left alone.
    """
    for status, recovery_status in SETTLED_BY.items():
        chosen = [one for one, its_status in ended.items() if its_status == status]
        if chosen and (held := hold(chosen, *OPEN)):
            # Looked at only now: whoever requeues has been here before, or waits for these rows.
            still = Execution.objects.filter(id__in=chosen, status=status)
            still_ended = set(still.values_list("id", flat=True))
            _move([one for one in held if one.execution_id in still_ended], recovery_status)


def hold(execution_ids: Sequence[UUID], *statuses: RecoveryStatus) -> list[ErrorRecord]:
    """Lock the records of these executions that have one of the statuses, in id order."""
    records = ErrorRecord.objects.filter(
        execution_id__in=execution_ids, recovery_status__in=statuses
    )
    return list(records.order_by("id").select_for_update())


def _move(held: Sequence[ErrorRecord], target: RecoveryStatus) -> None:
    if not held:
        return
    ids_of_held = [one.id for one in held]
    ErrorRecord.objects.filter(id__in=ids_of_held).update(recovery_status=target, updated_at=Now())
    for one in held:
        one.recovery_status = target
    events.emit([told("error:updated", one) for one in held])
    events.announce()
