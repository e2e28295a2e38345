"""Puts into words what became of a fire: one sentence per reason, from its record and its run.

Pure: no clock, no query; `why` finds the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from executions_app import wording
from executions_app.models import Execution
from executions_app.wording import iso
from scheduler_app.models import FireRecord
from scheduler_app.policies import FireReason

LATE: Final = timedelta(seconds=1)  # below it, nobody would call a fire late
OCCASIONS: Final = {  # by the first word of the cause
    "event": "The event of",
    "delivery": "The delivery of",
    "dependency": "The end of its upstream at",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """A recorded fire with what else the rows tell of it."""

    fire: FireRecord
    execution: Execution | None
    others: tuple[Execution, ...]
    overlap_policy: str
    pause_reason: str
    closed_by: str
    now: datetime


def sentence(facts: Facts) -> str:
    """Why the fire did or did not run."""
    fire = facts.fire
    occasion = OCCASIONS.get(fire.cause.partition(":")[0], "The fire of")
    about = f"{occasion} {iso(fire.nominal_at)}"
    if fire.count > 1 and fire.nominal_until is not None:
        about = (
            f"{fire.count} fires from {iso(fire.nominal_at)} to {iso(fire.nominal_until)}, "
            "of which this is one,"
        )
    return f"{about} {SENTENCES[FireReason(fire.reason)](facts)}"


def _dispatched(facts: Facts) -> str:
    execution = facts.execution
    late = _late(facts)
    if execution is None:
        return f"was dispatched{late}; its execution is no longer kept."
    moved = execution.due_at - facts.fire.created_at
    wait = f" It was put off until {iso(execution.due_at)}." if moved > LATE else ""
    told = wording.why(execution, now=facts.now)
    return f"became execution #{execution.number}{late}.{wait} {told}"


def _skipped_overlap(facts: Facts) -> str:
    policy = f"its overlap policy is {facts.overlap_policy!r}"
    if not facts.others:
        return f"was skipped, because an earlier execution had not ended and {policy}."
    named = ", ".join(f"#{one.number}" for one in facts.others)
    verb = "had" if len(facts.others) == 1 else "each had"
    noun = "execution" if len(facts.others) == 1 else "executions"
    return f"was skipped: {noun} {named} {verb} not ended, and {policy}."


def _skipped_window(facts: Facts) -> str:
    return f"was skipped, because its execution window is closed then{_by(facts.closed_by)}."


def _skipped_calendar(facts: Facts) -> str:
    return f"was skipped, because its calendar is closed then{_by(facts.closed_by)}."


def _skipped_paused(facts: Facts) -> str:
    reason = f": {facts.pause_reason}" if facts.pause_reason else ""
    return f"did not run, because the schedule was paused or disabled then{reason}."


def _skipped_duplicate(facts: Facts) -> str:
    if facts.execution is not None:
        named = f"execution #{facts.execution.number}"
        return f"made no execution: {named} already had its unique key."
    return "made no execution, because another one already had its unique key."


def _skipped_budget(_facts: Facts) -> str:
    return "was skipped, because its budget was spent."


def _missed_coalesced(facts: Facts) -> str:
    return (
        f"was missed and gave way to newer ones by the catch-up policy: it was looked at "
        f"{iso(facts.fire.created_at)}{_late(facts)}, when later fires were due, too."
    )


def _missed_too_old(facts: Facts) -> str:
    return (
        f"was missed: when it was looked at, {iso(facts.fire.created_at)}{_late(facts)}, it was "
        "older than the catch-up policy lets a fire be."
    )


def _late(facts: Facts) -> str:
    late = timedelta(milliseconds=facts.fire.lateness_ms)
    return f", {wording.duration(late)} late" if late >= LATE else ""


def _by(words: str) -> str:
    return f" ({words})" if words else ""


SENTENCES: Final[dict[FireReason, Callable[[Facts], str]]] = {
    FireReason.DISPATCHED: _dispatched,
    FireReason.SKIPPED_OVERLAP: _skipped_overlap,
    FireReason.SKIPPED_WINDOW: _skipped_window,
    FireReason.SKIPPED_CALENDAR: _skipped_calendar,
    FireReason.SKIPPED_PAUSED: _skipped_paused,
    FireReason.SKIPPED_DUPLICATE: _skipped_duplicate,
    FireReason.SKIPPED_BUDGET: _skipped_budget,
    FireReason.MISSED_COALESCED: _missed_coalesced,
    FireReason.MISSED_TOO_OLD: _missed_too_old,
}
