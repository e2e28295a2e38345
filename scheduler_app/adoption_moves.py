"""Every move of a decision of the AI: guarded, audited and told; the only writer of decisions.

`adoption` decides, and writes the schedule in the same transaction where there is something to
write. Here too is what touches no schedule: a refusal by a person, and the end of a proposal that
nobody answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from executions_app import audit, clock, events
from executions_app.audit import Actor
from executions_app.events import NewEvent
from executions_app.states import DecisionStatus, LostRace, check
from scheduler_app.models import ScheduleDecision

AI: Final = Actor("AI")
BUDGET: Final = Actor("budget")
MOST_AT_ONCE: Final = 200
OBJECT: Final = "decision"
EXPIRED: Final = "nobody answered in time"
FOLLOWED: Final = "a later decision took its place"


def insert(decision: ScheduleDecision) -> None:
    """In the caller's transaction: a decision comes into being, in whatever state."""
    decision.save(force_insert=True)
    events.emit([told(decision)])


def move(
    decision: ScheduleDecision,
    target: DecisionStatus,
    *,
    actor: Actor,
    now: datetime,
    note: str = "",
    **changes: Any,
) -> None:
    """In the caller's transaction: as `decision` was read, it becomes `target`.

    Raises IllegalMove, and LostRace if it is not as it was read any more.
    """
    before = DecisionStatus(decision.status)
    check(before, target)
    changes |= {"status": target, "updated_at": now}
    if actor.user_id is not None or target in {DecisionStatus.ADOPTED, DecisionStatus.REVERTED}:
        changes |= {"decided_by_id": actor.user_id, "decided_at": now}
    if not ScheduleDecision.objects.filter(id=decision.id, status=before).update(**changes):
        message = "Somebody else decided about this proposal first; read it again"
        raise LostRace(message, id=decision.id)
    for name, value in changes.items():
        setattr(decision, name, value)
    audit.record(
        actor,
        f"decision.{target.value}",
        object_type=OBJECT,
        object_id=decision.id,
        now=now,
        before={"status": before.value},
        after={"status": target.value},
        note=note,
    )
    events.emit([told(decision)])


def reject(decision: ScheduleDecision, *, actor: Actor, reason: str) -> ScheduleDecision:
    """A person says no; raises IllegalMove for what is no open proposal."""
    with transaction.atomic():
        move(
            decision,
            DecisionStatus.REFUSED,
            actor=actor,
            now=clock.now(),
            note=reason,
            refusal=reason,
        )
    events.announce()
    return decision


def expire(now: datetime) -> int:
    """End proposals that nobody answered in time; answers how many."""
    late = ScheduleDecision.objects.filter(status=DecisionStatus.PROPOSED, expires_at__lte=now)
    with transaction.atomic():
        rows = list(late.order_by("id").select_for_update(skip_locked=True)[:MOST_AT_ONCE])
        _end(rows, DecisionStatus.EXPIRED, EXPIRED, now=now)
    events.announce()
    return len(rows)


def supersede_older(decision: ScheduleDecision, *, now: datetime) -> None:
    """In the caller's transaction: open proposals for the same schedule make room for this one."""
    older = ScheduleDecision.objects.filter(
        schedule_id=decision.schedule_id, status=DecisionStatus.PROPOSED
    ).exclude(id=decision.id)
    rows = list(older.order_by("id").select_for_update())
    _end(rows, DecisionStatus.SUPERSEDED, FOLLOWED, now=now)


def _end(
    rows: Sequence[ScheduleDecision], target: DecisionStatus, refusal: str, *, now: datetime
) -> None:
    """Locked and proposed, they all come to the same end."""
    if not rows:
        return
    ScheduleDecision.objects.filter(id__in=[one.id for one in rows]).update(
        status=target, refusal=refusal, updated_at=now
    )
    for one in rows:
        one.status, one.refusal = target, refusal
    audit.record_all(
        audit.SYSTEM,
        f"decision.{target.value}",
        object_type=OBJECT,
        object_ids=[one.id for one in rows],
        now=now,
        after={"status": target.value},
        note=refusal,
    )
    events.emit([told(one) for one in rows])


def told(decision: ScheduleDecision) -> NewEvent:
    """The event that a decision is now as it is."""
    return NewEvent(
        "schedule:decided",
        f"schedule:{decision.schedule_id}",
        {
            "decision_id": str(decision.id),
            "status": str(decision.status),
            "kind": str(decision.kind),
            "source": decision.source,
            "autonomy": str(decision.autonomy),
            "next_run_at": decision.clamped.get("next_run_at"),
            "refusal": decision.refusal,
        },
        owner_id=decision.owner_id,
        schedule_id=decision.schedule_id,
        execution_id=decision.execution_id,
    )
