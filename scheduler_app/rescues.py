"""When a beat has the rescuer look for leases that have ended, and how far it has come with them.

Every RESCUE_SECONDS, and at once while there are more of them than a page. While PostgreSQL is away
nobody can renew a lease: after an absence workers get a period to do it before they are looked at.
"""

from __future__ import annotations

import random
import time
from typing import Final

from config.env import env
from errors_app import rescuer

FEW_SECONDS: Final = 3.0


class Rescues:
    """The turns of the rescuer in one beat; all instants are monotonic."""

    def __init__(self) -> None:
        self.due_at = float("-inf")
        self._away_since: float | None = None
        self._postponed_since: float | None = None
        self._place = rescuer.Place()
        self._random = random.SystemRandom()

    @property
    def has_more(self) -> bool:
        """True if the last page was full: the next one follows without a rest."""
        return self._place.has_more

    def is_due(self, *, now: float) -> bool:
        return self.has_more or now >= self.due_at

    def rescue(self) -> None:
        """One page of expired leases."""
        self.due_at = time.monotonic() + env.rescue_seconds
        self._postponed_since = None
        rescuer.rescue_lost(rng=self._random, place=self._place, most=rescuer.PAGE)

    def postgres_is_away(self, *, since: float) -> None:
        """A round that began at `since` could not be ended."""
        if self._away_since is None:
            self._away_since = since
        self._place = rescuer.Place()

    def postgres_answers(self, *, now: float) -> None:
        """Postpone the next look, if it was away: by LEASE_SECONDS at most, however often it is."""
        since, self._away_since = self._away_since, None
        if since is None or now - since <= _harmless_seconds():
            return
        if self._postponed_since is None:
            self._postponed_since = now
        latest = self._postponed_since + env.lease_seconds
        self.due_at = min(now + env.rescue_seconds, latest)


def _harmless_seconds() -> float:
    """What a lease outlives that is renewed in time; a lost connection takes hardly any time."""
    return min(FEW_SECONDS, env.lease_seconds - 2 * env.heartbeat_seconds)
