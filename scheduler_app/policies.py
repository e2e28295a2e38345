"""What to do with a due fire: pure decisions from overlap and catch-up to the fate of each fire.

The dispatcher asks `decide` for every due schedule and writes down what it answers; nothing here
reads a clock, a row or a setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from scheduler_app.next_run import Missed

RECORDED_ONE_BY_ONE: Final = 100
ON_TIME: Final = timedelta(seconds=10)


class TriggerType(StrEnum):
    TIME_BASED = "time_based"
    EVENT_DRIVEN = "event_driven"
    DEPENDENT = "dependent"
    MANUAL = "manual"


class OverlapPolicy(StrEnum):
    SKIP = "skip"
    ALLOW = "allow"


class CatchupPolicy(StrEnum):
    LATEST = "latest"
    ALL = "all"
    NONE = "none"


class FireReason(StrEnum):
    """The closed list of what can become of a nominal fire."""

    DISPATCHED = "dispatched"
    SKIPPED_OVERLAP = "skipped_overlap"
    MISSED_COALESCED = "missed_coalesced"
    MISSED_TOO_OLD = "missed_too_old"


@dataclass(frozen=True, slots=True)
class Fire:
    """One nominal fire, or a summary of `count` of them from `nominal_at` to `nominal_until`."""

    nominal_at: datetime
    reason: FireReason
    nominal_until: datetime | None = None
    count: int = 1

    @property
    def is_run(self) -> bool:
        return self.reason is FireReason.DISPATCHED

    @property
    def is_missed(self) -> bool:
        return self.reason in {FireReason.MISSED_COALESCED, FireReason.MISSED_TOO_OLD}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of a schedule when its fires come due."""

    overlap: OverlapPolicy
    catchup: CatchupPolicy
    catchup_limit: int = 1
    catchup_window: timedelta | None = None
    has_active: bool = False


def decide(due: Missed, circumstances: Circumstances, *, now: datetime) -> list[Fire]:
    """The fate of every due fire of one schedule, oldest first.

    `latest` runs the newest, `all` the newest `catchup_limit`, `none` only a newest that is at
    most ON_TIME late; a fire older than the catch-up window never runs. What is left to run
    follows the overlap policy: with `skip` the oldest of them runs if nothing else is active.
    """
    fires: list[Fire] = []
    if due.rest_first and due.rest_last:
        reason = _missed_reason(due.rest_last, circumstances, now)
        fires.append(Fire(due.rest_first, reason, due.rest_last, due.rest_count))
    most = {
        CatchupPolicy.LATEST: 1,
        CatchupPolicy.ALL: circumstances.catchup_limit,
        CatchupPolicy.NONE: 1,
    }[circumstances.catchup]
    singles = [*due.older, due.newest]
    is_alone = due.count == 1 <= most and not circumstances.has_active
    if is_alone and not _is_too_old(due.newest, circumstances, now):
        return [Fire(due.newest, FireReason.DISPATCHED)]  # what follows says the same, slower
    for place, nominal_at in enumerate(singles):
        may_run = len(singles) - place <= most and not _is_too_old(nominal_at, circumstances, now)
        if may_run:
            fires.append(Fire(nominal_at, FireReason.DISPATCHED))
        else:
            fires.append(Fire(nominal_at, _missed_reason(nominal_at, circumstances, now)))
    return list(_without_overlap(fires, circumstances))


def _is_too_old(nominal_at: datetime, circumstances: Circumstances, now: datetime) -> bool:
    window = circumstances.catchup_window
    if circumstances.catchup is CatchupPolicy.NONE:
        window = min(window, ON_TIME) if window is not None else ON_TIME
    return window is not None and now - nominal_at > window


def _missed_reason(nominal_at: datetime, circumstances: Circumstances, now: datetime) -> FireReason:
    if _is_too_old(nominal_at, circumstances, now):
        return FireReason.MISSED_TOO_OLD
    return FireReason.MISSED_COALESCED


def _without_overlap(fires: list[Fire], circumstances: Circumstances) -> Iterator[Fire]:
    is_busy = circumstances.has_active
    for fire in fires:
        if fire.is_run and is_busy and circumstances.overlap is OverlapPolicy.SKIP:
            yield Fire(fire.nominal_at, FireReason.SKIPPED_OVERLAP)
            continue
        is_busy = is_busy or fire.is_run
        yield fire
