"""Before an execution begins: when an instant of PostgreSQL comes, by this process' own clock.

What PostgreSQL says of its time was under way for a while, and was read late where threads wait for
each other: by then its clock showed more. The answer that was fastest tells most, and is
remembered.
"""

from __future__ import annotations

import threading
from typing import Final

DRIFT: Final = 0.001  # seconds a second: far more than clocks drift that are being corrected


class ServerClock:
    """How far PostgreSQL's clock is ahead of this process' monotonic one: no less than is known.

    So nothing that goes by it comes too early.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._ahead_by = float("-inf")
        self._noted_at = 0.0

    def note(self, told: float, *, sent: float, received: float) -> None:
        """PostgreSQL's clock showed `told`, at some time between `sent` and `received`."""
        with self._guard:
            known = self._ahead_by - (received - self._noted_at) * DRIFT
            was_set_back = known > told - sent
            if was_set_back or told - received >= known:
                self._ahead_by, self._noted_at = told - received, received

    def when(self, instant: float) -> float:
        """The monotonic time at which PostgreSQL's clock shows `instant`, or little later."""
        with self._guard:
            return instant - self._ahead_by


server_clock: Final = ServerClock()
"""That of this process; a child of a fork has learned what its parent had."""
