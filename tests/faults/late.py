"""What each policy makes of eleven fires, ten minutes apart, that nobody looked at meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from executions_app.audit import SYSTEM
from scheduler_app import calendars
from scheduler_app.models import Schedule
from tests.journeys.scenario import every, owner_id, schedule
from tests.journeys.test_dispatch import force

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
STEP = 10 * MINUTE
TOO_LATE = timedelta(seconds=15)  # to be on time

EVERY_ONE = {"catchup_policy": "all", "catchup_limit": 100, "overlap_policy": "allow"}
LAST_FIVE = {"catchup_policy": "all", "catchup_limit": 5}
LATE: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "latest": ({"catchup_policy": "latest"}, {"dispatched": 1, "missed_coalesced": 10}),
    "all": (
        {"catchup_policy": "all", "catchup_limit": 5, "overlap_policy": "allow"},
        {"dispatched": 5, "missed_coalesced": 6},
    ),
    "all, one at a time": (
        {"catchup_policy": "all", "catchup_limit": 5, "overlap_policy": "skip"},
        {"dispatched": 1, "skipped_overlap": 4, "missed_coalesced": 6},
    ),
    "all of the last half hour": (
        {
            "catchup_policy": "all",
            "catchup_limit": 100,
            "overlap_policy": "allow",
            "catchup_window_ms": 1_790_000,
        },
        {"dispatched": 3, "missed_too_old": 8},
    ),
    "none": ({"catchup_policy": "none"}, {"missed_too_old": 11}),
    "three runs at most": ({**EVERY_ONE, "max_runs": 3}, {"dispatched": 3}),
    "three runs at most, the latest": (
        {"catchup_policy": "latest", "max_runs": 3},
        {"dispatched": 1, "missed_coalesced": 10},
    ),
    "one waits": (
        {**LAST_FIVE, "overlap_policy": "buffer_one"},
        {"dispatched": 2, "skipped_overlap": 3, "missed_coalesced": 6},
    ),
    "all wait": (
        {**LAST_FIVE, "overlap_policy": "buffer_all"},
        {"dispatched": 5, "missed_coalesced": 6},
    ),
    "two wait": (
        {**LAST_FIVE, "overlap_policy": "buffer_all", "buffer_limit": 2},
        {"dispatched": 3, "skipped_overlap": 2, "missed_coalesced": 6},
    ),
    "the newest takes the place of others": (
        {**LAST_FIVE, "overlap_policy": "cancel_running"},
        {"dispatched": 1, "skipped_overlap": 4, "missed_coalesced": 6},
    ),
    "to be started within three hours": (
        {**EVERY_ONE, "run_ttl_ms": 10_800_000},
        {"dispatched": 11},
    ),
    "at most two at once": ({**EVERY_ONE, "max_concurrent": 2}, {"dispatched": 11}),
    "spread over a second": (
        {**EVERY_ONE, "jitter_ms": 700, "spread_ms": 300},
        {"dispatched": 11},
    ),
}
# Those of which an instant stands in the definition.
LATE_AND_BOUND: dict[str, tuple[Callable[[datetime], dict[str, Any]], dict[str, int]]] = {
    "until the fifth": (
        lambda first: {**EVERY_ONE, "end_at": (first + 4 * STEP).isoformat()},
        {"dispatched": 5},
    ),
    "the latest until the fifth": (
        lambda first: {"end_at": (first + 4.5 * STEP).isoformat()},
        {"dispatched": 1, "missed_coalesced": 4},
    ),
    "a window that closed meanwhile": (
        lambda first: {**EVERY_ONE, "execution_window": hours(first - HOUR, first + 5 * STEP)},
        {"skipped_window": 11},
    ),
    "a window that opened meanwhile": (
        lambda first: {
            **EVERY_ONE,
            "execution_window": hours(first + 5 * STEP, first + 3 * HOUR),
        },
        {"skipped_window": 5, "dispatched": 6},
    ),
    "a window that opens again tomorrow": (
        lambda first: {
            **LAST_FIVE,
            "overlap_policy": "allow",
            "outside_window": "next_opening",
            "execution_window": hours(first - HOUR, first + 5 * STEP),
        },
        {"dispatched": 5, "missed_coalesced": 6},
    ),
    "a blackout that is over": (
        lambda first: {**EVERY_ONE, "calendar": blackout(first + 2 * STEP, first + 6 * STEP)},
        {"skipped_calendar": 4, "dispatched": 7},
    ),
    "a blackout that goes on": (
        lambda first: {**EVERY_ONE, "calendar": blackout(first + 2 * STEP, first + 3 * HOUR)},
        {"skipped_calendar": 11},
    ),
}


def hours(begin: datetime, end: datetime) -> dict[str, list[str]]:
    """A daily window from the minute of one instant to that of another."""
    begin, end = (one.replace(second=0, microsecond=0) for one in (begin, end))
    return {"hours": [f"{begin:%H:%M}-{end:%H:%M}"]}


def blackout(begin: datetime, end: datetime) -> str:
    """The id of a calendar that is closed only from one instant to another."""
    closed = [{"from": begin.isoformat(), "to": end.isoformat(), "reason": "moving house"}]
    words = {"name": f"closed {begin} to {end}", "timezone": "UTC", "weekend": []}
    made = calendars.create(
        calendars.parse({**words, "blackouts": closed}), owner_id=owner_id(), actor=SYSTEM
    )
    return str(made.id)


def late(first: datetime) -> dict[str, tuple[Schedule, dict[str, int]]]:
    """Every case with a schedule that fires at each step and was not looked at since `first`."""
    said = {name: (policy, wanted) for name, (policy, wanted) in LATE.items()}
    said |= {name: (words(first), wanted) for name, (words, wanted) in LATE_AND_BOUND.items()}
    made = {}
    for name, (policy, wanted) in said.items():
        words = dict(policy)
        end_at = words.pop("end_at", None)  # no door takes an end that has passed
        one = schedule(**every(STEP.total_seconds(), **words))
        bounds = {} if end_at is None else {"end_at": end_at}
        force(one, anchor_at=first - STEP, next_run_at=first, **bounds)
        made[name] = one, wanted
    return made
