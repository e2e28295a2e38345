"""How long an execution will probably take: learned from outcomes, for messages that many share.

A schedule that ran often enough speaks for itself. For any other its task type does, by the mean of
its runs; while they differ too much, by four times their deviation above it, as TCP guesses its
round trips (RFC 6298). A guess on the long side costs a message, one on the short side makes others
wait. What was never seen, and an agent, travels alone. Beats tell each other through Redis, which
may forget it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from executions_app.outbox import Message
from scheduler_app.slices import QUICK_MS

FADES_PER_RUN: Final = 0.99
DEVIATIONS: Final = 4.0
UNPREDICTABLE: Final = frozenset({"", "agent"})


@dataclass(slots=True)
class _Guess:
    mean_ms: float
    deviation_ms: float

    @property
    def text(self) -> str:
        return f"{self.mean_ms:.3f} {self.deviation_ms:.3f}"

    @classmethod
    def read(cls, text: str) -> _Guess | None:
        """What `text` says; None if that is not two numbers."""
        try:
            mean_ms, deviation_ms = map(float, text.split())
        except ValueError:
            return None
        return cls(mean_ms, deviation_ms)

    @property
    def likely_ms(self) -> float:
        """The mean, if even what is far from it is quick."""
        at_most = self.mean_ms + DEVIATIONS * self.deviation_ms
        return self.mean_ms if at_most <= QUICK_MS else at_most


class Predictions:
    """What one process has seen of each task type, in milliseconds."""

    def __init__(self) -> None:
        self._known: dict[str, _Guess] = {}
        self._news: set[str] = set()

    def learn(self, task_type: str, *, slowest_ms: float, runs: int) -> None:
        """Take in `runs` runs of a task type, of which the slowest took `slowest_ms`."""
        self._news.add(task_type)
        known = self._known.get(task_type)
        if known is None:
            self._known[task_type] = _Guess(slowest_ms, slowest_ms / 2)
            return
        kept = FADES_PER_RUN**runs
        known.mean_ms += (1 - kept) * (slowest_ms - known.mean_ms)
        deviation_ms = abs(slowest_ms - known.mean_ms)
        known.deviation_ms += (1 - kept) * (deviation_ms - known.deviation_ms)

    def take_news(self) -> dict[str, str]:
        """What was learned since the last time, as text by task type, for `adopt` elsewhere."""
        news, self._news = self._news, set()
        return {one: self._known[one].text for one in news}

    def adopt(self, texts: Mapping[str, str]) -> None:
        """Know what another process has learned."""
        for task_type, text in texts.items():
            if task_type not in self._news and (guess := _Guess.read(text)):
                self._known[task_type] = guess

    def of(self, task_type: str, *, own_ms: float | None = None) -> float | None:
        """The predicted duration; `own_ms` is the mean of its schedule. None: nobody knows."""
        if task_type in UNPREDICTABLE:
            return None
        if own_ms is not None:
            return own_ms
        known = self._known.get(task_type)
        return None if known is None else known.likely_ms

    def added_to(self, messages: list[Message]) -> list[Message]:
        """The messages with what is known of their task types."""
        return [replace(one, predicted_ms=self.of(one.task_type)) for one in messages]


predictions: Final = Predictions()
