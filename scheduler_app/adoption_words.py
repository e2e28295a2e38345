"""A decision of the AI in words, for people who are to say yes or no to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler_app.models import DecisionKind, ScheduleDecision

LIMITS: Final[Mapping[str, str]] = {
    "min_interval": "the least time between two runs",
    "max_interval": "the longest time between two runs",
    "longest_pause": "the longest pause that there is",
    "past": "it would have been in the past",
    "start_at": "the start of the schedule",
    "quota": "the rate that it is under is used up until then",
    "window": "the execution window",
    "calendar": "the business calendar",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What a decision changes: the next run, or a pause that puts it off."""

    is_pause: bool
    at: datetime | None
    instead_of: datetime | None


@dataclass(frozen=True, slots=True)
class Moved:
    """Which limit moved a proposed time, in words."""

    by: str
    before: datetime
    after: datetime


def change(decision: ScheduleDecision) -> Change:
    """What would change with it, or did."""
    is_pause = decision.kind == DecisionKind.PAUSE
    text = decision.clamped.get("pause_until" if is_pause else "next_run_at")
    at = None if text is None else datetime.fromisoformat(text)
    return Change(is_pause, at, decision.seen_next_run_at)


def moved(decision: ScheduleDecision) -> list[Moved]:
    """What its limits changed, in order."""
    return [
        Moved(
            LIMITS.get(one["limit"], one["limit"]),
            datetime.fromisoformat(one["before"]),
            datetime.fromisoformat(one["after"]),
        )
        for one in decision.notes
    ]
