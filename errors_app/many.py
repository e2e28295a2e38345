"""What people decide about many dead letters and errors at once, a fixed number of statements each.

All of it happens in the caller's transaction. Locks are taken in one order: executions, then dead
letters, then error records, each in id order; so a crowd of people and beats waits for one another
and never in a circle. What did not move is answered with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db.models.functions import Now

from errors_app import handling
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.recovery import take_up
from errors_app.telling import told
from executions_app import audit, clock, events, lifecycle
from executions_app import many as executions
from executions_app.audit import Actor
from executions_app.many import Refusals
from executions_app.models import Execution
from executions_app.states import TRANSITIONS, RecoveryStatus

OPEN: Final = "open"
HANDLED: Final = "it was requeued or discarded before"


def lock(letter_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Hold these dead letters and their executions; answers what was decided about each."""
    executions.lock(_executions_of(letter_ids))
    letters = DeadLetter.objects.filter(id__in=letter_ids).order_by("id").select_for_update()
    return {id_: handling_ or OPEN for id_, handling_ in letters.values_list("id", "handling")}


def lock_errors(record_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Hold these error records; answers their recovery statuses."""
    records = ErrorRecord.objects.filter(id__in=record_ids).order_by("id").select_for_update()
    return dict(records.values_list("id", "recovery_status"))


def requeue(
    letter_ids: Sequence[UUID], *, actor: Actor, note: str, facts: Mapping[str, Any]
) -> Refusals:
    """Give the executions of dead letters that are held a new budget each; they are due at once.

    Their errors follow them.
    """
    of_execution = _open_letters(id__in=letter_ids)
    moved = lifecycle.requeue_each(_budgets(of_execution))
    chosen = {of_execution[one] for one in moved}
    _close(chosen, handling.REQUEUED, actor=actor, note=note, facts=facts)
    take_up(sorted(moved))
    left = dict.fromkeys(of_execution.values(), "its execution is not failed any more")
    return {one: left.get(one, HANDLED) for one in letter_ids if one not in chosen}


def requeue_executions(
    execution_ids: Sequence[UUID], *, actor: Actor, note: str, facts: Mapping[str, Any]
) -> Refusals:
    """As `requeue`, by the executions, which are held; each needs an open dead letter."""
    of_execution = _open_letters(execution_id__in=execution_ids)
    refused = requeue(list(of_execution.values()), actor=actor, note=note, facts=facts)
    return {
        one: refused.get(of_execution.get(one, one), "it is in no open dead letter")
        for one in execution_ids
        if one not in of_execution or of_execution[one] in refused
    }


def discard(
    letter_ids: Sequence[UUID], *, actor: Actor, note: str, facts: Mapping[str, Any]
) -> Refusals:
    """Let the executions of dead letters that are held go; they are never run again."""
    of_execution = _open_letters(id__in=letter_ids)
    lifecycle.discard(list(of_execution))
    chosen = set(of_execution.values())
    _close(chosen, handling.DISCARDED, actor=actor, note=note, facts=facts)
    return {one: HANDLED for one in letter_ids if one not in chosen}


def resolve(
    record_ids: Sequence[UUID], *, actor: Actor, note: str, facts: Mapping[str, Any]
) -> Refusals:
    """The cause of these errors, which are held, is gone."""
    return _decide(record_ids, RecoveryStatus.RESOLVED, actor=actor, note=note, facts=facts)


def ignore(
    record_ids: Sequence[UUID], *, actor: Actor, note: str, facts: Mapping[str, Any]
) -> Refusals:
    """These errors, which are held, do not matter."""
    return _decide(record_ids, RecoveryStatus.IGNORED, actor=actor, note=note, facts=facts)


def leading_to(target: RecoveryStatus) -> list[str]:
    """The recovery statuses from which a person may bring a record to `target`."""
    return [str(one) for one, targets in TRANSITIONS[RecoveryStatus].items() if target in targets]


def _executions_of(letter_ids: Sequence[UUID]) -> list[UUID]:
    letters = DeadLetter.objects.filter(id__in=letter_ids)
    return list(letters.values_list("execution_id", flat=True))


def _open_letters(**chosen: Sequence[UUID]) -> dict[UUID, UUID]:
    """Execution -> its open dead letter, held from now on."""
    letters = DeadLetter.objects.filter(handling="", **chosen).order_by("id").select_for_update()
    return dict(letters.values_list("execution_id", "id"))


def _budgets(execution_ids: Mapping[UUID, UUID]) -> dict[UUID, int]:
    """How many more tries each gets: as many as its schedule gave it when it was made."""
    retries = Execution.objects.filter(id__in=list(execution_ids)).values_list(
        "id", "snapshot__retry_policy__max_retries"
    )
    return {id_: int(most or 0) + 1 for id_, most in retries}


def _close(
    letter_ids: set[UUID], handling_: str, *, actor: Actor, note: str, facts: Mapping[str, Any]
) -> None:
    now = clock.now()
    DeadLetter.objects.filter(id__in=letter_ids).update(
        handling=handling_, handled_by_id=actor.user_id, handled_at=now
    )
    audit.record_all(
        actor,
        f"dead_letter.{handling_}",
        object_type="dead_letter",
        object_ids=sorted(letter_ids),
        now=now,
        after=facts,
        note=note,
    )


def _decide(
    record_ids: Sequence[UUID],
    target: RecoveryStatus,
    *,
    actor: Actor,
    note: str,
    facts: Mapping[str, Any],
) -> Refusals:
    movable = ErrorRecord.objects.filter(id__in=record_ids, recovery_status__in=leading_to(target))
    records = list(movable.order_by("id").select_for_update())
    chosen = [one.id for one in records]
    now = clock.now()
    ErrorRecord.objects.filter(id__in=chosen).update(
        recovery_status=target,
        handled_by_id=actor.user_id,
        handled_at=now,
        note=note,
        updated_at=Now(),
    )
    for one in records:
        one.recovery_status = target
    events.emit([told("error:updated", one) for one in records])
    audit.record_all(
        actor,
        f"error.{target.value}",
        object_type="error",
        object_ids=chosen,
        now=now,
        after={"recovery_status": target.value, **facts},
        note=note,
    )
    left = set(record_ids).difference(chosen)
    return dict.fromkeys(sorted(left), f"it cannot be {target.value} any more")
