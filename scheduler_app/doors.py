"""When the execution of a fire may start: window, calendar, jitter and spread in one answer. Pure.

Jitter and spread are hashes, not random numbers: every beat, and every look ahead, finds the same
instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import UUID

from scheduler_app.policies import FireReason, OutsideWindow
from scheduler_app.windows import Openings


@dataclass(frozen=True, slots=True)
class Doors:
    """What of one schedule moves the starts of its fires, for those that look ahead."""

    schedule_id: UUID
    openings: Openings | None = None
    outside: OutsideWindow = OutsideWindow.SKIP
    jitter_ms: int = 0
    spread_ms: int = 0

    def passes(self, nominal_at: datetime) -> tuple[FireReason, datetime | None]:
        """What becomes of a fire that is on time, and when its execution is due if it gets one."""
        opening: datetime | None = nominal_at
        closed = None if self.openings is None else self.openings.closed_by(nominal_at)
        if closed and self.openings is not None:
            opening = None
            if self.outside is OutsideWindow.NEXT_OPENING:
                opening = self.openings.next_opening(nominal_at)
        if opening is None:
            return FireReason(f"skipped_{closed}"), None
        return FireReason.DISPATCHED, self.start(nominal_at, opening)

    def start(self, nominal_at: datetime, opening: datetime) -> datetime:
        """The opening and the delay of this fire; a delay never leads out of the window."""
        delay = delay_of(
            self.schedule_id, nominal_at, jitter_ms=self.jitter_ms, spread_ms=self.spread_ms
        )
        return start(opening, delay, self.openings)


def delay_of(
    schedule_id: UUID, nominal_at: datetime, *, jitter_ms: int = 0, spread_ms: int = 0
) -> timedelta:
    """How much later this fire starts: the spread of its schedule and the jitter of this fire.

    The spread is the same for every fire of a schedule (0 to `spread_ms`, both included), so its
    cadence stays even; the jitter is another for each of them (0 to `jitter_ms`).
    """
    spread = _hashed(schedule_id.bytes, most=spread_ms)
    fire = nominal_at.astimezone(UTC).isoformat(timespec="microseconds").encode()
    return timedelta(milliseconds=spread + _hashed(schedule_id.bytes + fire, most=jitter_ms))


def start(opening: datetime, delay: timedelta, openings: Openings | None) -> datetime:
    """The opening and the delay, halved until the start is as open as the opening is.

    So those whose delay would lead out of a window still lie apart.
    """
    if openings is not None and openings.closed_by(opening) is None:
        while delay and openings.closed_by(opening + delay):
            delay //= 2
    return opening + delay


def _hashed(seed: bytes, *, most: int) -> int:
    """A whole number from 0 to `most`, as good as evenly spread over the seeds."""
    if most <= 0:
        return 0
    return int.from_bytes(blake2b(seed, digest_size=8).digest()) % (most + 1)
