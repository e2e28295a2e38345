"""How long an execution will probably take: learned from outcomes, for messages that many share.

A schedule that ran often enough speaks for itself. For any other its task type does, by the mean of
its runs, the latest of which count most: a slice holds so much predicted work, and the mean is what
that adds up from. A guess on the long side costs a message, one on the short side makes others
wait. What was never seen, and an agent, travels alone. Beats tell each other through Redis, which
may forget it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from executions_app.outbox import Message

FADES_PER_RUN: Final = 0.99
UNPREDICTABLE: Final = frozenset({"", "agent"})


@dataclass(slots=True)
class _Guess:
    mean_ms: float = 0.0
    runs: int = 0

    def add(self, its_ms: float, *, runs: int) -> None:
        """Take in runs that took `its_ms` each; the first ones count alike."""
        self.runs += runs
        weight = max(runs / self.runs, 1 - FADES_PER_RUN**runs)
        self.mean_ms += weight * (its_ms - self.mean_ms)

    @property
    def text(self) -> str:
        return f"{self.mean_ms:.3f} {self.runs}"

    @classmethod
    def read(cls, text: str) -> _Guess | None:
        """What `text` says; None if that is not two numbers."""
        try:
            mean_ms, runs = text.split()
            return cls(float(mean_ms), int(runs))
        except ValueError:
            return None


class Predictions:
    """What one process has seen of each task type, in milliseconds."""

    def __init__(self) -> None:
        self._known: dict[str, _Guess] = {}
        self._news: set[str] = set()

    def learn(self, task_type: str, *, mean_ms: float, runs: int) -> None:
        """Take in `runs` runs of a task type, that took `mean_ms` on average."""
        self._news.add(task_type)
        self._known.setdefault(task_type, _Guess()).add(mean_ms, runs=runs)

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
        return None if known is None else known.mean_ms

    def added_to(self, messages: list[Message]) -> list[Message]:
        """The messages with what is known of their task types."""
        return [replace(one, predicted_ms=self.of(one.task_type)) for one in messages]


predictions: Final = Predictions()
