"""How long an execution will probably take: learned from outcomes, for messages that many share.

A schedule that ran often enough speaks for itself. For any other the slowest run of its task type
does, forgotten slowly: a wrong guess on the long side costs a message, one on the short side makes
others wait. What was never seen, and an agent, travels alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from executions_app.outbox import Message

FADES_PER_RUN: Final = 0.99  # one slow run is remembered for hundreds of quick ones
UNPREDICTABLE: Final = frozenset({"", "agent"})


class Predictions:
    """What one process has seen of each task type, in milliseconds."""

    def __init__(self) -> None:
        self._slowest_ms: dict[str, float] = {}

    def learn(self, task_type: str, *, slowest_ms: float, runs: int) -> None:
        """Take in `runs` runs of a task type, of which the slowest took `slowest_ms`."""
        faded = self._slowest_ms.get(task_type, 0.0) * FADES_PER_RUN**runs
        self._slowest_ms[task_type] = max(slowest_ms, faded)

    def of(self, task_type: str, *, own_ms: float | None = None) -> float | None:
        """The predicted duration; `own_ms` is the mean of its schedule. None: nobody knows."""
        if task_type in UNPREDICTABLE:
            return None
        return own_ms if own_ms is not None else self._slowest_ms.get(task_type)

    def added_to(self, messages: list[Message]) -> list[Message]:
        """The messages with what is known of their task types."""
        return [replace(one, predicted_ms=self.of(one.task_type)) for one in messages]


predictions: Final = Predictions()
