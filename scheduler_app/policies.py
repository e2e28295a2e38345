"""What to do with a due fire: pure decisions from catch-up, windows and overlap to its fate.

The dispatcher asks `decide` for every due schedule and writes down what it answers; nothing here
reads a clock, a row or a setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from scheduler_app.next_run import Missed
from scheduler_app.windows import Openings

RECORDED_ONE_BY_ONE: Final = 100
ON_TIME: Final = timedelta(seconds=10)


class TriggerType(StrEnum):
    TIME_BASED = "time_based"
    EVENT_DRIVEN = "event_driven"
    DEPENDENT = "dependent"
    MANUAL = "manual"


class OverlapPolicy(StrEnum):
    """What becomes of a fire while an execution of its schedule has not ended."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    CANCEL_RUNNING = "cancel_running"
    ALLOW = "allow"


class OutsideWindow(StrEnum):
    """What becomes of a fire while a window, or a calendar, is closed."""

    SKIP = "skip"
    NEXT_OPENING = "next_opening"


class CatchupPolicy(StrEnum):
    LATEST = "latest"
    ALL = "all"
    NONE = "none"


class FireReason(StrEnum):
    """The closed list of what can become of a nominal fire."""

    DISPATCHED = "dispatched"
    SKIPPED_OVERLAP = "skipped_overlap"
    SKIPPED_WINDOW = "skipped_window"
    SKIPPED_CALENDAR = "skipped_calendar"
    SKIPPED_PAUSED = "skipped_paused"
    SKIPPED_DUPLICATE = "skipped_duplicate"
    SKIPPED_BUDGET = "skipped_budget"
    MISSED_COALESCED = "missed_coalesced"
    MISSED_TOO_OLD = "missed_too_old"


class Entry(StrEnum):
    """How an execution comes in beside those of its schedule that have not ended."""

    RUN = "run"
    WAIT = "wait"
    REPLACE = "replace"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Fire:
    """One nominal fire, or a summary of `count` of them from `nominal_at` to `nominal_until`.

    Of one that runs: `starts_at` is the opening it waits for (None: at once), `entry` whether it
    is held until the others have ended, and whether those are to stop for it.
    """

    nominal_at: datetime
    reason: FireReason
    nominal_until: datetime | None = None
    count: int = 1
    starts_at: datetime | None = None
    entry: Entry = Entry.RUN

    @property
    def is_run(self) -> bool:
        return self.reason is FireReason.DISPATCHED

    @property
    def is_missed(self) -> bool:
        return self.reason in {FireReason.MISSED_COALESCED, FireReason.MISSED_TOO_OLD}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of a schedule when its fires come due.

    `has_active` counts every execution that has not ended, `held` those among them that wait for
    the others; `runs_left` is what max_runs leaves, None without it.
    """

    overlap: OverlapPolicy
    catchup: CatchupPolicy
    catchup_limit: int = 1
    catchup_window: timedelta | None = None
    has_active: bool = False
    held: int = 0
    buffer_limit: int = 100
    runs_left: int | None = None
    openings: Openings | None = None
    outside: OutsideWindow = OutsideWindow.SKIP


def decide(due: Missed, circumstances: Circumstances, *, now: datetime) -> list[Fire]:
    """The fate of every due fire of one schedule, oldest first.

    First the window: with `skip` a fire outside it never runs, with `next_opening` it waits. Of
    the others `latest` runs the newest, `all` the newest `catchup_limit`, `none` only a newest
    that is at most ON_TIME late; a fire older than the catch-up window never runs. What is left to
    run follows the overlap policy. After the last of `runs_left` there are no more fires. A
    summary of fires that are not listed tells nothing of windows.
    """
    is_alone = due.count == 1 and not circumstances.has_active
    is_free = circumstances.openings is None and circumstances.runs_left is None
    if is_alone and is_free and not _is_too_old(due.newest, circumstances, now):
        return [Fire(due.newest, FireReason.DISPATCHED)]  # what follows says the same, slower
    if circumstances.runs_left is not None and circumstances.runs_left <= 0:
        return []
    fires: list[Fire] = []
    if due.rest_first and due.rest_last:
        reason = _missed_reason(due.rest_last, circumstances, now)
        fires.append(Fire(due.rest_first, reason, due.rest_last, due.rest_count))
    admitted = [_through_window(one, circumstances, now) for one in (*due.older, due.newest)]
    fires.extend(_caught_up(admitted, circumstances, now))
    return list(_ended(_without_overlap(fires, circumstances), circumstances.runs_left))


def enter(overlap: OverlapPolicy, *, has_active: bool, held: int, buffer_limit: int) -> Entry:
    """How one more execution comes in, whatever starts it: the overlap policy in one place."""
    if not has_active or overlap is OverlapPolicy.ALLOW:
        return Entry.RUN
    if overlap is OverlapPolicy.CANCEL_RUNNING:
        return Entry.REPLACE
    room = {OverlapPolicy.BUFFER_ONE: 1, OverlapPolicy.BUFFER_ALL: buffer_limit}.get(overlap, 0)
    return Entry.WAIT if held < room else Entry.REFUSE


def _through_window(nominal_at: datetime, given: Circumstances, now: datetime) -> Fire:
    """What the window makes of a fire; one that is caught up late must be inside it now, too."""
    fire = Fire(nominal_at, FireReason.DISPATCHED)
    if given.openings is None:
        return fire
    is_late = now - nominal_at > ON_TIME
    for moment in (nominal_at, now) if is_late else (nominal_at,):
        fire = _at_opening(fire, max(moment, fire.starts_at or moment), given)
    return fire


def _at_opening(fire: Fire, moment: datetime, given: Circumstances) -> Fire:
    assert given.openings is not None
    closed = given.openings.closed_by(moment) if fire.is_run else None
    if closed is None:
        return fire
    opening = None
    if given.outside is OutsideWindow.NEXT_OPENING:
        opening = given.openings.next_opening(moment)
    if opening is None:  # never opens: nothing could run
        return replace(fire, reason=FireReason(f"skipped_{closed}"), starts_at=None)
    return replace(fire, starts_at=opening)


def _caught_up(fires: Sequence[Fire], given: Circumstances, now: datetime) -> list[Fire]:
    """The newest of those that may run still do; the older ones were missed."""
    left = given.catchup_limit if given.catchup is CatchupPolicy.ALL else 1
    found: list[Fire] = []
    for fire in reversed(fires):
        if fire.is_run and (left <= 0 or _is_too_old(fire.nominal_at, given, now)):
            reason = _missed_reason(fire.nominal_at, given, now)
            found.append(Fire(fire.nominal_at, reason))
        else:
            found.append(fire)
        left -= fire.is_run
    return found[::-1]


def _is_too_old(nominal_at: datetime, circumstances: Circumstances, now: datetime) -> bool:
    window = circumstances.catchup_window
    if circumstances.catchup is CatchupPolicy.NONE:
        window = min(window, ON_TIME) if window is not None else ON_TIME
    return window is not None and now - nominal_at > window


def _missed_reason(nominal_at: datetime, circumstances: Circumstances, now: datetime) -> FireReason:
    if _is_too_old(nominal_at, circumstances, now):
        return FireReason.MISSED_TOO_OLD
    return FireReason.MISSED_COALESCED


def _without_overlap(fires: Sequence[Fire], given: Circumstances) -> Iterator[Fire]:
    has_active, held = given.has_active, given.held
    newest = max((fire.nominal_at for fire in fires if fire.is_run), default=None)
    for fire in fires:
        if not fire.is_run:
            yield fire
            continue
        entry = enter(
            given.overlap, has_active=has_active, held=held, buffer_limit=given.buffer_limit
        )
        if given.overlap is OverlapPolicy.CANCEL_RUNNING and fire.nominal_at != newest:
            entry = Entry.REFUSE  # the newest would cancel it at once
        if entry is Entry.REFUSE:
            yield Fire(fire.nominal_at, FireReason.SKIPPED_OVERLAP)
            continue
        has_active, held = True, held + (entry is Entry.WAIT)
        yield replace(fire, entry=entry)


def _ended(fires: Iterator[Fire], runs_left: int | None) -> Iterator[Fire]:
    """All of them, or all until the schedule has made its last run."""
    for fire in fires:
        yield fire
        if runs_left is not None and fire.is_run:
            runs_left -= 1
            if runs_left == 0:
                return
