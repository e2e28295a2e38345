"""One path for every failed attempt: classify, record, then another try or the dead letters.

`decision` says which, `recover` applies it in one transaction. A retry is only a later due time on
the row: the dispatcher does the rest. `settle` closes the error records of an execution once it has
ended.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from pydantic import ValidationError

from errors_app import decision, earlier, recording, taxonomy, trackers
from errors_app.backoff import RetryPolicy
from errors_app.decision import Decision, GiveUp, RetryAt
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import Classified, ErrorClass, JobExecutionError, Severity
from errors_app.telling import told
from executions_app import clock, events, ids, lifecycle, steps, waiting
from executions_app.audit import Actor
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

UNREADABLE: Final = RetryPolicy(max_retries=0, retryable_classes=())  # then nothing is retried


@dataclass(frozen=True, slots=True)
class Stopped:
    """The attempt failed after somebody asked it to stop: it is cancelled, not retried."""


def recover(
    held: Claimed,
    error: BaseException,
    *,
    rng: random.Random,
    result: Callable[[], Mapping[str, object]] = dict,
) -> Decision | Stopped:
    """Record the failed attempt of a held execution and move the execution on.

    `result`: what it has to show all the same, beside the context of the error; asked for if there
    is no other attempt. Raises LostRace, having written nothing, if the lease is gone.
    """
    failure = taxonomy.classify(error)
    with transaction.atomic():
        now = clock.now()
        if lifecycle.cancel_requests([held.id]):
            lifecycle.stop_now(held)
            decided: Decision | Stopped = Stopped()
        else:
            decided = _fail(held, error, failure, now=now, rng=rng, result=result)
    events.announce()
    return decided


def _fail(
    held: Claimed,
    error: BaseException,
    failure: Classified,
    *,
    now: datetime,
    rng: random.Random,
    result: Callable[[], Mapping[str, object]],
) -> Decision:
    policy = _policy_of(held)
    if failure.may_repeat is None and (must_not_repeat(held) or _has_a_step_made_once(held)):
        failure = replace(failure, may_repeat=False)
    decided = decision.decide(
        failure,
        attempt=held.attempt,
        max_attempts=held.max_attempts,
        policy=policy,
        now=now,
        rng=rng,
        past=earlier.of(held, failure, policy=policy, now=now),
    )
    trackers.tell(error, held, _apply(held, failure, decided, now=now, result=result))
    return decided


def must_not_repeat(held: Claimed) -> bool:
    """Whether a person wrote `idempotent: false`: what may have begun is not begun again."""
    config = held.snapshot.get("task_config")
    return isinstance(config, dict) and config.get("idempotent") is False


def _has_a_step_made_once(held: Claimed) -> bool:
    """Whether a step of an agent may have been carried out that another attempt would repeat."""
    is_agents = held.snapshot.get("task_type") == "agent"
    return is_agents and bool(steps.may_have_happened(held.id))


def _policy_of(held: Claimed) -> RetryPolicy:
    try:
        return RetryPolicy.model_validate(held.snapshot.get("retry_policy", {}))
    except ValidationError:
        return UNREADABLE


def _apply(
    held: Claimed,
    failure: Classified,
    decided: Decision,
    *,
    now: datetime,
    result: Callable[[], Mapping[str, object]],
) -> ErrorRecord:
    record = _record(held, failure, decided, now=now)
    outcome = OUTCOMES.get(failure.error_class, Outcome.ERROR)
    match decided:
        case RetryAt(due_at):
            lifecycle.retry_at(held, due_at=due_at, outcome=outcome, error_id=record.id)
        case GiveUp():
            kept = {**failure.context, **result()}
            lifecycle.give_up(held, outcome=outcome, error_id=record.id, result=kept)
            _bury(held, record, now=now)
    record.save(force_insert=True)
    events.emit([told("error:recorded", record)])
    return record


def _record(
    held: Claimed | Execution, failure: Classified, decided: Decision, *, now: datetime
) -> ErrorRecord:
    is_retry = isinstance(decided, RetryAt)
    given_up = {"given_up": decided.reason} if isinstance(decided, GiveUp) else {}
    return recording.about(
        held,
        failure,
        now=now,
        more=given_up,
        attempt=held.attempt,
        severity=_severity(failure, decided),
        fingerprint=failure.fingerprint,
        recovery_status=RecoveryStatus.RETRY_SCHEDULED if is_retry else RecoveryStatus.ESCALATED,
        retry_at=decided.due_at if isinstance(decided, RetryAt) else None,
    )


def _severity(failure: Classified, decided: Decision) -> Severity:
    if isinstance(decided, RetryAt) or failure.severity is Severity.CRITICAL:
        return failure.severity
    return decided.severity


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


def refuse(
    execution: Execution, error: JobExecutionError, *, outcome: Outcome, actor: Actor, now: datetime
) -> None:
    """In the caller's transaction: the plan of an execution that waits was not approved.

    The attempt that asked has failed, and there is no other; what a person said no to is no dead
    letter, and its record needs nobody. Raises LostRace if it does not wait any more.
    """
    is_by_a_person = actor.user_id is not None
    severity = Severity.LOW if is_by_a_person else Severity.HIGH
    decided = GiveUp("its plan was not approved", severity)
    record = _record(execution, taxonomy.classify(error), decided, now=now)
    if is_by_a_person:
        record.recovery_status = RecoveryStatus.IGNORED
        record.handled_by_id, record.handled_at = actor.user_id, now
    waiting.end(execution.id, outcome=outcome, error_id=record.id)
    record.save(force_insert=True)
    events.emit([told("error:recorded", record)])


def mark_retrying(execution_ids: Sequence[UUID]) -> None:
    """In the caller's transaction: the scheduled retries of these executions are on their way."""
    _move(hold(execution_ids, RecoveryStatus.RETRY_SCHEDULED), RecoveryStatus.RETRYING)


def take_up(execution_ids: Sequence[UUID]) -> None:
    """In the transaction that lets these be tried again: what nobody closed follows them."""
    held = hold(execution_ids, *OPEN, RecoveryStatus.ESCALATED)
    unmoved = [one for one in held if one.recovery_status != RecoveryStatus.RETRYING]
    _move(unmoved, RecoveryStatus.RETRYING)


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
