"""Says once a minute if a beat's clock and PostgreSQL's disagree.

Nothing here depends on it, because PostgreSQL's clock decides everything. But logs, programs and
models see the other one, and whoever compares the two has to know.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from executions_app import clock

LOOK_SECONDS: Final = 60.0
MOST_SKEW: Final = timedelta(seconds=2)

logger = logging.getLogger(__name__)


def _this_machines() -> datetime:
    return datetime.now(UTC)


class Comparison:
    """One beat's looks at both clocks; `read` tells the one of its machine."""

    def __init__(self, *, read: Callable[[], datetime] = _this_machines) -> None:
        self._read = read
        self._looked_at = float("-inf")

    def make_when_due(self) -> None:
        """Compare, if that is a minute ago, and warn of more than MOST_SKEW."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        before = self._read()
        theirs = clock.now()
        ours = self._read()
        skew = difference(theirs, earliest=before, latest=ours)
        if skew > MOST_SKEW:
            logger.warning(
                "This machine's clock says %s and PostgreSQL's %s: they differ by %.1f s. "
                "PostgreSQL's decides what is due; let NTP set both",
                ours.isoformat(),
                theirs.isoformat(),
                skew.total_seconds(),
            )


def difference(theirs: datetime, *, earliest: datetime, latest: datetime) -> timedelta:
    """How far an instant lies outside of the time that it took to ask for it."""
    return max(earliest - theirs, theirs - latest, timedelta())
