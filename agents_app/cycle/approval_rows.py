"""Every move of a plan that a person is asked about: guarded; the only writer of these rows.

Whoever moves one holds its cycle's row, so that the plan, its execution and the answer change
together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models.functions import Now

from agents_app.models import PlanApproval
from executions_app import audit
from executions_app.audit import Actor
from executions_app.states import ApprovalStatus, LostRace, check

OBJECT: Final = "plan"


def insert(approval: PlanApproval) -> None:
    """In the caller's transaction: somebody is asked."""
    approval.save(force_insert=True)


def move(
    approval: PlanApproval,
    target: ApprovalStatus,
    *,
    actor: Actor,
    now: datetime,
    reason: str = "",
) -> None:
    """In the caller's transaction, with its audit entry: as it was read, it becomes `target`.

    Raises IllegalMove, and LostRace if it is not as it was read any more.
    """
    before = ApprovalStatus(approval.status)
    check(before, target)
    changes: dict[str, Any] = {"status": target, "reason": reason, "updated_at": now}
    if actor.user_id is not None:
        changes |= {"decided_by_id": actor.user_id, "decided_at": now}
    if not PlanApproval.objects.filter(id=approval.id, status=before).update(**changes):
        raise LostRace("Somebody else decided about this plan first; read it again", id=approval.id)
    for name, value in changes.items():
        setattr(approval, name, value)
    audit.record(
        actor,
        f"plan.{target.value}",
        object_type=OBJECT,
        object_id=approval.id,
        now=now,
        before={"status": before.value},
        after={
            "status": target.value,
            "execution_id": str(approval.execution_id),
            "plan_hash": approval.plan_hash,
        },
        note=reason,
    )


def withdraw(execution_ids: Iterable[UUID]) -> None:
    """In the caller's transaction: their executions have ended, and nobody is asked any more."""
    asked = PlanApproval.objects.filter(
        execution_id__in=list(execution_ids), status=ApprovalStatus.WAITING
    )
    asked.update(status=ApprovalStatus.WITHDRAWN, updated_at=Now())


def due(now: datetime, *, most: int) -> Sequence[PlanApproval]:
    """Those that nobody has answered in time, the longest overdue first; found by their index."""
    late = PlanApproval.objects.filter(status=ApprovalStatus.WAITING, expires_at__lte=now)
    return list(late.order_by("expires_at")[:most])


def latest(execution_id: UUID) -> PlanApproval | None:
    """The newest request of an execution, with who decided about it."""
    found = PlanApproval.objects.filter(execution_id=execution_id).select_related("decided_by")
    return found.order_by("-id").first()
