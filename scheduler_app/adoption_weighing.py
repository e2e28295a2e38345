"""Whether a decision still fits its schedule, and what the limits of the schedule leave of it.

`adoption` asks this for what a cycle advises, and once more when a person approves it. Nothing is
written here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from executions_app.wording import iso
from scheduler_app import adoption_advice, clamping, coming_rows
from scheduler_app.clamping import Clamped, Limits, Refused
from scheduler_app.limiting import quota
from scheduler_app.models import DecisionKind, Schedule, ScheduleDecision
from scheduler_app.policies import TriggerType


def outdated(decision: ScheduleDecision, schedule: Schedule | None, *, now: datetime) -> str:
    """Why the schedule is not any more what the AI saw; empty if it is."""
    if schedule is None:
        return "the schedule was deleted"
    if schedule.version != decision.seen_version:
        seen, is_at = decision.seen_version, schedule.version
        return f"the schedule was edited: the AI saw version {seen}, it is at {is_at}"
    if not schedule.enabled:
        return "the schedule is disabled"
    if schedule.paused_until is not None and schedule.paused_until > now:
        return f"the schedule is paused until {iso(schedule.paused_until)}"
    return _moved(decision, schedule, now)


def _moved(decision: ScheduleDecision, schedule: Schedule, now: datetime) -> str:
    seen, is_at = decision.seen_next_run_at, schedule.next_run_at
    # Whichever run is the next, a spent budget lets it wait.
    if is_at != seen and not adoption_advice.is_of_a_budget(decision):
        words = [iso(one) if one else "none" for one in (seen, is_at)]
        return f"the next run has moved: the AI saw {words[0]}, it is at {words[1]}"
    if is_at is not None and is_at <= now:
        return f"the next run has come due: {iso(is_at)}"
    return ""


def within_limits(
    wanted: datetime, decision: ScheduleDecision, schedule: Schedule, *, now: datetime
) -> Clamped | Refused:
    """What the limits leave of an instant: of the next run, or of the end of a pause."""
    proposed = adoption_advice.read(decision)
    limits = Limits(
        now=now,
        ran_at=proposed.ran_at,
        min_interval=timedelta(milliseconds=proposed.min_interval_ms),
        max_interval=timedelta(milliseconds=proposed.max_interval_ms),
        openings=coming_rows.openings(schedule),
        starts_at=schedule.start_at,
        ends_at=schedule.end_at,
        quota_from=quota.open_from(schedule, now=now),
    )
    if adoption_advice.is_of_a_budget(decision):  # how far an AI may go is no limit of it
        limits = replace(limits, max_interval=clamping.LONGEST_PAUSE)
    if decision.kind == DecisionKind.PAUSE:
        return clamping.pause(wanted, limits)
    if schedule.trigger_type != TriggerType.TIME_BASED or schedule.next_run_at is None:
        return Refused("time does not start this schedule: it has no next run that could move")
    return clamping.next_run(wanted, limits)
