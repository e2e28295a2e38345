"""What one process believes of an endpoint that its executions call, for at most a second."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from errors_app.breakers.store import Report, Standing
from executions_app.states import BreakerStatus

BELIEVED_SECONDS: Final = 1.0
MOST_OUTCOMES: Final = 50_000


@dataclass(frozen=True, slots=True)
class Belief:
    """A state and how long it is believed (`until`), on this process' monotonic clock.

    `probe_at`: when the next probe may go. `asked_at`: when the question was put.
    """

    state: BreakerStatus = BreakerStatus.CLOSED
    generation: int = 0
    asked_at: float = float("-inf")
    until: float = float("-inf")
    probe_at: float = 0.0
    since: datetime | None = None
    next_probe_at: datetime | None = None
    reason: str = ""

    @classmethod
    def of(cls, standing: Standing, *, asked_at: float) -> Belief:
        now = time.monotonic()
        return cls(
            state=standing.state,
            generation=standing.generation,
            asked_at=asked_at,
            until=asked_at + BELIEVED_SECONDS,
            probe_at=now + standing.wait_seconds,
            since=standing.since,
            next_probe_at=standing.next_probe_at,
            reason=standing.reason,
        )


class Outcome(NamedTuple):
    """What one call showed, and under which generation it was begun."""

    generation: int
    is_failure: bool
    latency_ms: float


@dataclass(eq=False, slots=True)
class View:
    """One endpoint in one process.

    Threads only append to `outcomes` and put another `belief` in place, which need no lock. Of
    those that want an answer from Redis one asks (`asking`); the others wait for the first of all
    (`answered`).
    """

    key: str
    belief: Belief = field(default_factory=Belief)
    outcomes: deque[Outcome] = field(default_factory=lambda: deque(maxlen=MOST_OUTCOMES))
    is_used: bool = False
    seen_at: float = float("-inf")
    asking: threading.Lock = field(default_factory=threading.Lock)
    answered: threading.Event = field(default_factory=threading.Event)

    def believe(self, belief: Belief) -> None:
        """Put it in place of what is older."""
        if belief.asked_at >= self.belief.asked_at:
            self.belief = belief

    def drain(self) -> Report:
        """What was noted since the last report, of calls begun in the present generation."""
        generation = self.belief.generation
        calls = failures = trailing = 0
        latency = 0.0
        for _ in range(len(self.outcomes)):
            try:
                one = self.outcomes.popleft()
            except IndexError:  # another thread drains as well
                break
            if one.generation != generation:
                continue
            calls += 1
            latency += one.latency_ms
            failures += one.is_failure
            trailing = trailing + 1 if one.is_failure else 0
        return Report(generation, calls, failures, trailing, round(latency))
