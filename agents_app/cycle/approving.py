"""A plan that waits for a person: asked for where the plan stage ends, then a yes, a no, or time.

The execution lets go of everything while it waits: lease, worker, the place of its agent. What
stands in rows is enough to go on. Approved, it is due like any other: whoever claims it finds the
steps of its plan and carries these out. Each move is one transaction under the cycle's row, guarded
by the states seen, so of two answers one counts, and a process that dies in it has done nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef

from agents_app.agent_config import AgentConfig
from agents_app.cycle import afterwards, approval_rows, frozen, holder, places, rows, telling
from agents_app.models import Cycle, CycleStatus, PlanApproval
from config.env import env
from errors_app import recovery
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import audit, clock, events, ids, leases, waiting
from executions_app.audit import Actor
from executions_app.database_errors import is_away
from executions_app.ledger import Claimed
from executions_app.models import Execution, Step
from executions_app.states import (
    ACTIVE,
    ApprovalStatus,
    LostRace,
    Outcome,
    SchedulerException,
    StepStatus,
    check,
)
from executions_app.waiting import Asked
from executions_app.wording import iso

MOST_AT_ONCE: Final = 100
NEVER, UNSAFE = "never", "unsafe"
LEAST: Final = timedelta(minutes=1)  # nobody is asked what cannot be answered
NOBODY: Final = "nobody answered in time"

logger = logging.getLogger(__name__)


class PlanChanged(SchedulerException):
    """What was approved is not the plan that waits: read it again."""


class TooLate(SchedulerException):
    """The time to answer is over."""


class NotApproved(HandlerError):
    """An execution was to be carried out by a plan that nobody said yes to."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_class=ErrorClass.PERMANENT, may_repeat=True)


class PlanRejected(NotApproved):
    """A person said no to a plan."""


class PlanExpired(NotApproved):
    """Nobody said yes or no to a plan in time."""


def ask(cycle: Cycle, held: Claimed) -> bool:
    """In the transaction that ends the plan stage: whether the cycle waits for a person now.

    It does not if nobody wants to be asked, or if its execution was asked to stop meanwhile. Raises
    LostRace if this cycle does not hold it any more: then there is no plan either.
    """
    config = holder.config_of(held)
    found = frozen.steps(cycle.execution_id)
    if not _is_wanted(config, found):
        return False
    asked = waiting.ask(held)
    if asked is None:
        if leases.held(cycle.execution_id, cycle.token) is None:
            raise LostRace("This execution is another's, or over", id=cycle.execution_id)
        return False
    rows.move(cycle, status=CycleStatus.WAITING)
    approval_rows.insert(
        PlanApproval(
            id=ids.new(asked.at),
            cycle_id=cycle.id,
            execution_id=cycle.execution_id,
            schedule_id=cycle.schedule_id,
            owner_id=cycle.owner_id,
            asked_for=config.approve_plan,
            plan_hash=frozen.fingerprint(found, concurrency=cycle.concurrency),
            risks=frozen.risks(found),
            expires_at=_until(asked),
        )
    )
    return True


def _is_wanted(config: AgentConfig, found: Sequence[Step]) -> bool:
    if config.approve_plan == NEVER or not found:
        return False
    return config.approve_plan != UNSAFE or bool(frozen.risks(found))


def let_go(cycle: Cycle) -> None:
    """Once it is committed that a cycle waits: its agent has a free place."""
    places.give_back(cycle)


def _until(asked: Asked) -> datetime:
    """An execution that was to begin by some instant is not worth a yes after it."""
    until = asked.at + timedelta(seconds=env.plan_approval_seconds)
    if asked.expires_at is None or asked.attempt > 1:
        return until
    return min(until, max(asked.expires_at, asked.at + LEAST))


def approve(approval: PlanApproval, *, plan_hash: str, actor: Actor) -> PlanApproval:
    """A person says yes to the plan of this hash: it is carried out, and no attempt is used.

    Raises IllegalMove and LostRace for what does not wait any more, TooLate, and PlanChanged.
    """
    with transaction.atomic():
        cycle, now = _locked(approval, ApprovalStatus.APPROVED)
        if approval.expires_at <= now:
            raise TooLate(f"The time to answer was over at {iso(approval.expires_at)}")
        found = frozen.steps(approval.execution_id)
        stored = frozen.fingerprint(found, concurrency=cycle.concurrency)
        if not plan_hash == approval.plan_hash == stored:
            raise PlanChanged("This is not the plan that waits for an answer; read it again")
        waiting.go_on(approval.execution_id)
        approval_rows.move(approval, ApprovalStatus.APPROVED, actor=actor, now=now)
    events.announce()
    return approval


def reject(approval: PlanApproval, *, reason: str, actor: Actor) -> PlanApproval:
    """A person says no: the execution has failed, and is not tried again.

    Raises IllegalMove and LostRace for what does not wait any more.
    """
    with transaction.atomic():
        cycle, now = _locked(approval, ApprovalStatus.REJECTED)
        error = PlanRejected(f"{actor.name!r} rejected the plan: {reason!r}")
        _refuse(cycle, approval, error, outcome=Outcome.REJECTED, actor=actor, now=now)
        approval_rows.move(approval, ApprovalStatus.REJECTED, actor=actor, now=now, reason=reason)
    events.announce()
    afterwards.note(cycle, because=f"a person rejected the plan: {reason!r}")
    return approval


def expire() -> int:
    """End what nobody answered in time; answers how many. Any number of beats may call it."""
    found = approval_rows.due(clock.now(), most=MOST_AT_ONCE)
    return sum(_expired(one) for one in found)


def _expired(approval: PlanApproval) -> bool:
    try:
        with transaction.atomic():
            cycle, now = _locked(approval, ApprovalStatus.EXPIRED)
            nobody = PlanExpired(f"Nobody approved the plan until {iso(approval.expires_at)}")
            _refuse(cycle, approval, nobody, outcome=Outcome.EXPIRED, actor=audit.SYSTEM, now=now)
            approval_rows.move(
                approval, ApprovalStatus.EXPIRED, actor=audit.SYSTEM, now=now, reason=NOBODY
            )
    except SchedulerException:  # somebody answered, or it was cancelled
        _tidy(approval.execution_id)
        return False
    except Exception as error:
        if is_away(error):
            raise
        logger.exception("The plan %s could not be ended; the next round tries again", approval.id)
        return False
    events.announce()
    afterwards.note(cycle, because=str(nobody))
    return True


def _tidy(execution_id: UUID) -> None:
    """Nobody is asked about an execution that has ended, whoever has ended it."""
    with transaction.atomic():
        withdraw([execution_id])
        if not Execution.objects.filter(id=execution_id, status__in=ACTIVE).exists():
            approval_rows.withdraw([execution_id])


def withdraw(execution_ids: Iterable[UUID]) -> None:
    """In the caller's transaction: of executions that have ended nobody is asked any more.

    One that ended and was requeued since may wait again, and goes on doing so.
    """
    active = Execution.objects.filter(id=OuterRef("execution_id"), status__in=ACTIVE)
    left = Cycle.objects.filter(
        ~Exists(active), execution_id__in=list(execution_ids), status=CycleStatus.WAITING
    )
    found = list(left.order_by("id").select_for_update())
    for cycle in found:
        if rows.close_waiting(cycle, CycleStatus.CANCELLED):
            _end_steps(cycle, "the execution has ended")
    if found:
        approval_rows.withdraw(one.execution_id for one in found)


def check_approved(cycle: Cycle, config: AgentConfig) -> None:
    """Raise NotApproved unless a person said yes to the plan of this cycle, or need not be asked.

    That nobody was asked happens: its execution was asked to stop while the plan was made.
    """
    latest = approval_rows.latest(cycle.execution_id)
    if latest is None:
        if _is_wanted(config, frozen.steps(cycle.execution_id)):
            raise NotApproved("Nobody was asked about the plan of this execution; start a new one")
    elif latest.status != ApprovalStatus.APPROVED:
        raise NotApproved(f"The plan of this execution is {latest.status}; nothing is carried out")


def _locked(approval: PlanApproval, target: ApprovalStatus) -> tuple[Cycle, datetime]:
    """Nobody else decides about this plan until the transaction ends; it may become `target`."""
    cycle = rows.lock(approval.cycle_id)
    approval.refresh_from_db()
    check(ApprovalStatus(approval.status), target)
    return cycle, clock.now()


def _refuse(
    cycle: Cycle,
    approval: PlanApproval,
    error: NotApproved,
    *,
    outcome: Outcome,
    actor: Actor,
    now: datetime,
) -> None:
    execution = Execution.objects.filter(id=approval.execution_id).first()
    if execution is None:
        raise LostRace("There is no such execution any more", id=approval.execution_id)
    recovery.refuse(execution, error, outcome=outcome, actor=actor, now=now)
    rows.close_waiting(cycle, CycleStatus.FAILED)
    _end_steps(cycle, "its plan was not approved")


def _end_steps(cycle: Cycle, reason: str) -> None:
    left = Step.objects.filter(execution_id=cycle.execution_id, status=StepStatus.PLANNED)
    reasons = dict.fromkeys(left.values_list("id", flat=True), reason)
    telling.end_unstarted(cycle, reasons, status=StepStatus.CANCELLED)
