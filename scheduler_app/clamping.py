"""How far the AI may move a next run: the limits that people set, applied last. Pure.

`adoption` asks before it touches a schedule. A limit moves what is proposed to the nearest instant
that it allows, and says so in a note; what no instant can satisfy is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from scheduler_app.windows import Openings

SECOND: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Limits:
    """What stands above a decision about one schedule.

    `ran_at` is the run that decided; between it and the next lie at least `min_interval` and at
    most `max_interval`. Without `openings` it may run at any time. Until `quota_from` the rates
    above it are used up.
    """

    now: datetime
    ran_at: datetime
    min_interval: timedelta
    max_interval: timedelta
    openings: Openings | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    quota_from: datetime | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """That a limit moved a time, and from where to where."""

    limit: str
    before: datetime
    after: datetime

    def as_json(self) -> dict[str, str]:
        return {"limit": self.limit, "before": as_text(self.before), "after": as_text(self.after)}


@dataclass(frozen=True, slots=True)
class Clamped:
    """What the limits leave of a proposal."""

    at: datetime
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Why no instant will do."""

    reason: str


def next_run(wanted: datetime, limits: Limits) -> Clamped | Refused:
    """When a schedule may run that should run at `wanted`.

    `min_interval` is stronger than `max_interval`, the past stronger than both; window and calendar
    come last, and may so lead beyond `max_interval`.
    """
    notes: list[Note] = []
    at = wanted
    for limit, bound in _bounds(wanted, limits):
        notes.append(Note(limit, at, bound))
        at = bound
    opened = _opened(at, limits.openings)
    if isinstance(opened, Refused):
        return opened
    notes.extend(opened.notes)
    if limits.ends_at is not None and opened.at > limits.ends_at:
        return Refused(f"{as_text(opened.at)} is after the end of the schedule")
    return Clamped(opened.at, tuple(notes))


def pause(wanted: datetime, limits: Limits) -> Clamped | Refused:
    """Until when a schedule may be paused that should be until `wanted`.

    A pause puts off the next run: it is as long as `max_interval` allows, and never longer than
    LONGEST_PAUSE.
    """
    bounds = (
        ("max_interval", limits.ran_at + limits.max_interval),
        ("longest_pause", limits.now + LONGEST_PAUSE),
    )
    limit, latest = min(bounds, key=lambda one: one[1])
    at = min(wanted, latest)
    if at <= limits.now:
        return Refused(f"a pause until {as_text(at)} would be over already")
    return Clamped(at, (Note(limit, wanted, at),) if at < wanted else ())


def _bounds(wanted: datetime, limits: Limits) -> Iterator[tuple[str, datetime]]:
    """The limits that move `wanted`, in order, each with where it leads."""
    latest = limits.ran_at + limits.max_interval
    earliest = limits.ran_at + limits.min_interval
    at = wanted
    if at > latest:
        at = latest
        yield "max_interval", at
    if at < earliest:
        at = earliest
        yield "min_interval", at
    if limits.starts_at is not None and at < limits.starts_at:
        at = limits.starts_at
        yield "start_at", at
    # A second more or less is what the clocks of two looks at the same rate may differ by.
    if limits.quota_from is not None and at < limits.quota_from - SECOND:
        at = limits.quota_from.replace(microsecond=0) + SECOND
        yield "quota", at
    if at <= limits.now:
        yield "past", soonest(limits.now)


def soonest(now: datetime) -> datetime:
    """The first whole second that is still to come for certain."""
    return now.replace(microsecond=0) + 2 * SECOND


def _opened(at: datetime, openings: Openings | None) -> Clamped | Refused:
    closed = None if openings is None else openings.closed_by(at)
    if openings is None or closed is None:
        return Clamped(at)
    opening = openings.next_opening(at)
    if opening is None:
        return Refused(f"the {closed} never opens after {as_text(at)}")
    return Clamped(opening, (Note(closed, at, opening),))


def as_text(instant: datetime) -> str:
    """As instants stand in the JSON of decisions: UTC, ISO 8601, with Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
