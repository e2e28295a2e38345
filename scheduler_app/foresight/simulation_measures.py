"""What is seen of a simulated world: fires by reason, queue depth, load and waits. Pure."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from scheduler_app.coming import BusyMinute, Prospect, minute_of
from scheduler_app.policies import FireReason

POINTS: Final = 168  # of what is shown over time
SHOWN: Final = 10
LEAST_STEP: Final = timedelta(minutes=1)


@dataclass(slots=True)
class Point:
    """One stretch of time: fires, the deepest queue, the most held by limits, the mean load."""

    at: datetime
    fires: int = 0
    deepest: int = 0
    held: int = 0
    busy: float = 0.0


@dataclass(slots=True)
class OfSchedule:
    """What one schedule did."""

    name: str
    reasons: Counter[FireReason] = field(default_factory=Counter)
    longest_wait: timedelta = timedelta()


class Measures:
    """Counts as the world goes; `close` ends it at an instant."""

    def __init__(self, begin: datetime, end: datetime, *, slots: int) -> None:
        self.begin, self.end, self.slots = begin, end, slots
        self.planned_end = end
        self.step = max(LEAST_STEP, (end - begin) / POINTS)
        self.points = [Point(begin)]
        self.reasons: Counter[FireReason] = Counter()
        self.schedules: dict[UUID, OfSchedule] = {}
        self.minutes: Counter[datetime] = Counter()
        self.waits = array("d")
        self.fires = self.expired = self.cancelled = self.unfinished = 0
        self.busy = self.queued = self.held = 0
        self.most_busy = self.most_queued = self.most_held = 0
        self._looked_at = begin

    def note_fire(self, mine: OfSchedule, reason: FireReason, at: datetime) -> None:
        self._pass(max(at, self.begin))
        self.fires += 1
        self.points[-1].fires += 1
        self.reasons[reason] += 1
        mine.reasons[reason] += 1
        if reason is FireReason.DISPATCHED:
            self.minutes[minute_of(at)] += 1

    def note_queue(self, now: datetime, change: int) -> None:
        self._pass(now)
        self.queued += change
        self.most_queued = max(self.most_queued, self.queued)
        self.points[-1].deepest = max(self.points[-1].deepest, self.queued)

    def note_held(self, now: datetime, change: int) -> None:
        self._pass(now)
        self.held += change
        self.most_held = max(self.most_held, self.held)
        self.points[-1].held = max(self.points[-1].held, self.held)

    def note_start(self, mine: OfSchedule, now: datetime, wait: timedelta) -> None:
        self._pass(now)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        self.waits.append(wait.total_seconds())
        mine.longest_wait = max(mine.longest_wait, wait)

    def note_end(self, now: datetime) -> None:
        self._pass(now)
        self.busy -= 1

    def close(self, end: datetime) -> None:
        """Nothing more happens until `end`, which may lie before the planned one."""
        self._pass(end)
        self.end = end

    @property
    def is_complete(self) -> bool:
        """False if there was more to happen than was let happen."""
        return self.end == self.planned_end

    @property
    def starts(self) -> int:
        return len(self.waits)

    @property
    def load(self) -> float:
        """The mean part of the slots that were busy."""
        used = sum(point.busy for point in self.points)
        whole = (self.end - self.begin).total_seconds() * self.slots
        return used / whole if whole else 0.0

    def wait_at(self, share: float) -> float:
        """The wait in seconds that this share of the runs did not exceed."""
        if not self.waits:
            return 0.0
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def busiest(self) -> list[BusyMinute]:
        """The minutes in which most fires ran, the first of them first."""
        crowded = sorted(self.minutes.items(), key=lambda one: (-one[1], one[0]))[:SHOWN]
        return [BusyMinute(minute, count) for minute, count in crowded]

    def of(self, prospect: Prospect) -> OfSchedule:
        """Where what a schedule does is counted."""
        mine = self.schedules.get(prospect.schedule_id)
        if mine is None:
            mine = self.schedules[prospect.schedule_id] = OfSchedule(prospect.name)
        return mine

    def _pass(self, now: datetime) -> None:
        """Count the busy slots of the time that went by, and open the stretches it reaches."""
        point = self.points[-1]
        while now >= point.at + self.step:
            closes = point.at + self.step
            point.busy += self.busy * (closes - self._looked_at).total_seconds()
            self._looked_at = closes
            point = Point(closes, deepest=self.queued, held=self.held)
            self.points.append(point)
        if self.busy:
            point.busy += self.busy * (now - self._looked_at).total_seconds()
        self._looked_at = now


def document(measures: Measures) -> dict[str, Any]:
    """Everything as JSON; instants stay instants, durations are milliseconds."""
    return {
        "from": measures.begin,
        "until": measures.end,
        "is_complete": measures.is_complete,
        "slots": measures.slots,
        "fires": measures.fires,
        "reasons": {one.value: count for one, count in sorted(measures.reasons.items())},
        "executions": measures.starts,
        "expired": measures.expired,
        "cancelled": measures.cancelled,
        "unfinished": measures.unfinished,
        "load": round(measures.load, 4),
        "most_running": measures.most_busy,
        "most_queued": measures.most_queued,
        "most_held": measures.most_held,
        "wait_ms": {
            "p50": _ms(measures.wait_at(0.5)),
            "p95": _ms(measures.wait_at(0.95)),
            "max": _ms(max(measures.waits, default=0.0)),
        },
        "busiest_minutes": [{"at": one.at, "count": one.count} for one in measures.busiest()],
        "over_time": _over_time(measures),
        "schedules": _of_schedules(measures),
    }


def _over_time(measures: Measures) -> list[dict[str, Any]]:
    seconds = measures.step.total_seconds()
    return [
        {
            "at": point.at,
            "fires": point.fires,
            "deepest_queue": point.deepest,
            "most_held": point.held,
            "running": round(point.busy / seconds, 3),
        }
        for point in measures.points
    ]


def _of_schedules(measures: Measures) -> list[dict[str, Any]]:
    return [
        {
            "id": schedule_id,
            "name": one.name,
            "reasons": {reason.value: count for reason, count in sorted(one.reasons.items())},
            "longest_wait_ms": _ms(one.longest_wait.total_seconds()),
        }
        for schedule_id, one in measures.schedules.items()
        if one.reasons
    ]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
