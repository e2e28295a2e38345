"""Why a fire has no record: a decision of the AI had put the next run off, beyond it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from executions_app import ids
from executions_app.states import DecisionStatus
from executions_app.wording import iso
from scheduler_app.models import DecisionKind, Schedule, ScheduleDecision

NEWEST: Final = 100
"""So many of the decisions before a fire are looked at."""
MILLISECOND: Final = timedelta(milliseconds=1)


def sentence(schedule: Schedule, nominal: datetime) -> str:
    """That the fire at `nominal` was passed over by a decision, and by which; empty if not."""
    before_it = ScheduleDecision.objects.filter(
        schedule_id=schedule.id, id__lt=ids.floor(nominal + MILLISECOND)
    ).order_by("-id")
    for one in before_it.only("status", "kind", "clamped", "before")[:NEWEST]:
        if _passes_over(one, nominal):
            to = iso(datetime.fromisoformat(one.clamped["next_run_at"]))
            return (
                f"The AI put off the next run from {iso(_was_at(one) or nominal)} to {to}: "
                f"decision {one.id}; the fires of the rule between them do not count."
            )
    return ""


def _passes_over(decision: ScheduleDecision, nominal: datetime) -> bool:
    if decision.status != DecisionStatus.ADOPTED or decision.kind == DecisionKind.PAUSE:
        return False
    was_at = _was_at(decision)
    until = datetime.fromisoformat(decision.clamped["next_run_at"])
    return was_at is not None and was_at <= nominal < until


def _was_at(decision: ScheduleDecision) -> datetime | None:
    text = (decision.before or {}).get("next_run_at")
    return None if text is None else datetime.fromisoformat(text)
