"""What an adopted decision does to its schedule, and how that is taken back.

In the transaction of `adoption`, which has locked the schedule. A new next run changes nothing but
that, and leaves the version alone: what other cycles saw is still true. A pause is an edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from executions_app import audit, events
from executions_app.audit import Actor
from executions_app.states import DecisionStatus, LostRace
from scheduler_app import adoption_advice, edits, first_run
from scheduler_app.clamping import as_text
from scheduler_app.models import DecisionKind, Schedule, ScheduleDecision

LONGEST_PAUSE_REASON: Final = 500


def is_in_force(decision: ScheduleDecision, schedule: Schedule, *, now: datetime) -> bool:
    """True if the schedule waits for what this decision has brought about."""
    if decision.status != DecisionStatus.ADOPTED or not schedule.enabled:
        return False
    if decision.kind == DecisionKind.PAUSE:
        until = schedule.paused_until
        return until is not None and until > now and _is(until, decision, "pause_until")
    at = schedule.next_run_at
    return at is not None and at > now and _is(at, decision, "next_run_at")


def carry_out(
    decision: ScheduleDecision, schedule: Schedule, *, actor: Actor, now: datetime
) -> None:
    """Change the locked schedule, and note in the decision what stood there.

    Raises InvalidDefinition where the schedule would never run again: nothing was written.
    """
    assert schedule.next_run_at is not None or decision.kind == DecisionKind.PAUSE
    decision.before = {
        "next_run_at": schedule.next_run_at and as_text(schedule.next_run_at),
        "paused_until": schedule.paused_until and as_text(schedule.paused_until),
        "pause_reason": schedule.pause_reason,
    }
    shown = adoption_advice.shown(decision)
    if decision.kind == DecisionKind.PAUSE:
        whose = "budget" if adoption_advice.is_of_a_budget(decision) else "AI"
        reason = f"paused by the {whose}: {decision.reason}"[:LONGEST_PAUSE_REASON]
        _pause(schedule, {"paused_until": shown, "pause_reason": reason}, actor)
        at = schedule.next_run_at
        decision.clamped = {**decision.clamped, "next_run_at": at and as_text(at)}
    else:
        _retime(schedule, shown, decision, actor=actor, now=now)


def take_back(
    decision: ScheduleDecision, schedule: Schedule, *, actor: Actor, now: datetime
) -> None:
    """Change the locked schedule back, as far as that is still to come."""
    before = decision.before or {}
    if decision.kind == DecisionKind.PAUSE:
        _pause(schedule, {"paused_until": None, "pause_reason": before["pause_reason"]}, actor)
        return
    at = datetime.fromisoformat(before["next_run_at"])
    if at <= now or schedule.version != decision.seen_version:
        ruled = first_run.of(schedule, max(now, schedule.last_run_at or now))
        assert ruled is not None  # time starts it, or nothing had been adopted
        at = ruled
    _retime(schedule, at, decision, actor=actor, now=now)


def _pause(schedule: Schedule, changes: Mapping[str, Any], actor: Actor) -> None:
    edits.replace(schedule, edits.current(schedule).model_copy(update=dict(changes)), actor)


def _retime(
    schedule: Schedule, at: datetime, decision: ScheduleDecision, *, actor: Actor, now: datetime
) -> None:
    """Move the next run of a locked schedule, if it is still as it was read; raises LostRace."""
    before = schedule.next_run_at
    rows = Schedule.objects.filter(
        id=schedule.id, version=schedule.version, enabled=True, next_run_at=before
    )
    if not rows.update(next_run_at=at):
        raise LostRace("The schedule was changed meanwhile", id=schedule.id)
    schedule.next_run_at = at
    audit.record(
        actor,
        "schedule.retimed",
        object_type="schedule",
        object_id=schedule.id,
        now=now,
        before={"next_run_at": before and as_text(before)},
        after={"next_run_at": as_text(at), "decision": str(decision.id)},
    )
    events.emit([edits.told("updated", schedule)])


def _is(instant: datetime, decision: ScheduleDecision, name: str) -> bool:
    return bool(decision.clamped.get(name) == as_text(instant))
