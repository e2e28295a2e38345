"""When to run next while no model says so: each strategy from the same few facts. Pure.

They advise like a model; the limits of the schedule are applied after them all the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import takewhile
from statistics import fmean
from typing import ClassVar, Final

from agents_app.planning.contracts import Advice
from agents_app.planning.job_context import JobContext

BUDGET: Final = "budget"
"""The source of what a spent budget brings about."""
LEAST_MS: Final = 1_000
MOST_DOUBLINGS: Final = 5
FASTER_BY: Final = 0.9
FASTEST: Final = 0.5
ROOM_FOR_A_RUN: Final = 2.0
GOOD: Final = "completed"
COUNTED: Final = frozenset({GOOD, "failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PastOutcome:
    """How an execution of the schedule ended."""

    is_good: bool
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known of the schedule. `runs`: the newest first.

    `interval_ms`: its own, where its rule is a plain interval; `nominal_at`: the planned instant of
    this run, if it has one; `next_run_at`: that of the next by its own rule. `last_interval_ms`:
    that a model last gave.
    """

    now: datetime
    nominal_at: datetime | None = None
    next_run_at: datetime | None = None
    interval_ms: int | None = None
    min_interval_ms: int | None = None
    max_interval_ms: int | None = None
    runs: Sequence[PastOutcome] = ()
    last_interval_ms: int | None = None

    @property
    def base_ms(self) -> int | None:
        """How far apart its own rule has them, as far as that can be said."""
        if self.interval_ms is not None:
            return self.interval_ms
        if self.next_run_at is None or self.next_run_at <= self.now:
            return None
        # One that is long overdue says nothing about the distance to the next.
        is_late = (
            self.nominal_at is None or self.now - self.nominal_at > self.next_run_at - self.now
        )
        began_at = self.now if is_late or self.nominal_at is None else self.nominal_at
        return (self.next_run_at - began_at) // timedelta(milliseconds=1)

    def clamped(self, interval_ms: float) -> int:
        """Within the limits of the schedule, in whole milliseconds."""
        most = self.max_interval_ms
        least = max(LEAST_MS, self.min_interval_ms or LEAST_MS)
        within = interval_ms if most is None else min(interval_ms, most)
        return round(max(within, least))


def situation(
    context: JobContext, *, this: PastOutcome | None = None, last_interval_ms: int | None = None
) -> Situation:
    """What a strategy needs to know of a job; `this`: how the run at hand has gone."""
    earlier = [
        PastOutcome(is_good=one.status == GOOD, duration_ms=one.duration_ms)
        for one in context.runs
        if one.status in COUNTED
    ]
    return Situation(
        now=context.now,
        nominal_at=context.job.nominal_at,
        next_run_at=context.next_run_at,
        interval_ms=context.job.interval_ms,
        min_interval_ms=context.job.min_interval_ms,
        max_interval_ms=context.job.max_interval_ms,
        runs=[*([this] if this else []), *earlier],
        last_interval_ms=last_interval_ms,
    )


class FallbackStrategy(ABC):
    """Says when a schedule runs next without asking a model; the same facts, the same answer."""

    source: ClassVar[str]
    """As a decision records it."""

    @abstractmethod
    def advise(self, situation: Situation) -> Advice:
        """When to run next, and why."""


@dataclass(frozen=True, slots=True)
class Interval(FallbackStrategy):
    """The schedule's own timing; with `interval_ms`, that interval within the limits."""

    source: ClassVar[str] = "fallback:interval"
    interval_ms: int | None = None

    def advise(self, situation: Situation) -> Advice:
        if self.interval_ms is None:
            return Advice("keep", reason="The schedule's own timing holds.")
        interval_ms = situation.clamped(self.interval_ms)
        return Advice(
            "interval", interval_ms=interval_ms, reason=f"A fixed interval of {interval_ms} ms."
        )


@dataclass(frozen=True, slots=True)
class Adaptive(FallbackStrategy):
    """Failures lengthen the interval, successes shorten it, and a run needs room.

    With `base` the distance of the schedule's own fires:

    - after f >= 1 failures in a row: base * 2^min(f, 5)
    - after s >= 1 successes in a row: base * max(1/2, 0.9^s)
    - never less than twice the mean duration of the runs that are known
    - then within the schedule's `min_interval_ms` and `max_interval_ms`; where no minimum is set,
      never less than `base`, since nobody has allowed more runs than the rule makes.
    """

    source: ClassVar[str] = "fallback:adaptive"

    def advise(self, situation: Situation) -> Advice:
        base, runs = situation.base_ms, situation.runs
        if base is None or not runs:
            return Advice("keep", reason="Too little is known to adapt; its own timing holds.")
        is_good = runs[0].is_good
        streak = len(list(takewhile(lambda one: one.is_good is is_good, runs)))
        wanted = base * self._factor(streak, is_good=is_good)
        if situation.min_interval_ms is None:
            wanted = max(wanted, base)
        interval_ms = situation.clamped(max(wanted, self._room(runs)))
        what = "successes" if is_good else "failures"
        return Advice(
            "interval",
            interval_ms=interval_ms,
            reason=f"{streak} {what} in a row: {interval_ms} ms instead of {base} ms.",
        )

    @staticmethod
    def _factor(streak: int, *, is_good: bool) -> float:
        if is_good:
            return max(FASTEST, FASTER_BY**streak)
        return float(2 ** min(streak, MOST_DOUBLINGS))

    @staticmethod
    def _room(runs: Sequence[PastOutcome]) -> float:
        known = [one.duration_ms for one in runs if one.duration_ms is not None]
        return ROOM_FOR_A_RUN * fmean(known) if known else 0.0


@dataclass(frozen=True, slots=True)
class Repeat(FallbackStrategy):
    """The interval that a model last gave, within the limits; without one, the own timing."""

    source: ClassVar[str] = "last_good"

    def advise(self, situation: Situation) -> Advice:
        if situation.last_interval_ms is None:
            return Advice("keep", reason="No model gave an interval; its own timing holds.")
        interval_ms = situation.clamped(situation.last_interval_ms)
        return Advice(
            "interval",
            interval_ms=interval_ms,
            reason=f"The interval that the model last gave, {interval_ms} ms.",
        )


@dataclass(frozen=True, slots=True)
class PauseToTomorrow(FallbackStrategy):
    """Nothing runs until the next day in UTC begins, when budgets of a day begin anew.

    A person has said so: it is followed whatever the schedule lets an AI decide.
    """

    source: ClassVar[str] = BUDGET

    def advise(self, situation: Situation) -> Advice:
        today = situation.now.astimezone(UTC).date()
        tomorrow = datetime.combine(today + timedelta(days=1), time(), UTC)
        return Advice("pause", pause_until=tomorrow, reason="The budget is spent.")
