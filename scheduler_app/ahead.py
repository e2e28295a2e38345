"""A moment ahead: fires are written down and sent shortly before their instant.

To write a fire down, to send it and to claim it takes longer than to begin it. So a beat does this
work before the instant; a worker that holds the execution waits for it and begins at once. What is
known only at the instant itself (is the run before it still active?) is not decided ahead: such a
fire waits, and is dispatched when it is due.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from config.env import env


class Ahead:
    """How far one beat has looked; a fire may be written down `seconds` before its instant."""

    def __init__(self) -> None:
        self.seconds = env.scheduler_ahead_ms / 1000
        self._asked_at: datetime | None = None
        self._looked_until: datetime | None = None

    def note_look(self, now: datetime) -> None:
        """At `now` all was taken that can be fired ahead; what is left waits for its instant."""
        self._looked_until = now + timedelta(seconds=self.seconds)

    def note_nothing(self) -> None:
        """There was nothing to take when this was asked last: all there is waits likewise."""
        if self._asked_at is not None:
            self.note_look(self._asked_at)

    def seconds_until(self, first: datetime, *, now: datetime) -> float:
        """When to dispatch, if `first` is the first fire to come; 0: now."""
        self._asked_at = now
        is_left_over = self._looked_until is not None and first <= self._looked_until
        early = 0.0 if is_left_over else self.seconds
        return max(0.0, (first - now).total_seconds() - early)
