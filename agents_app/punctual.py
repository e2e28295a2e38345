"""At an instant many executions begin: first all of them, then what the first of them answered.

A worker holds what begins at an instant a moment before it. Storing the outcomes of the first would
take the time in which the others are to begin, so it waits for them, for a moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from typing import Final

MOST_SECONDS: Final = 0.05

_beginning: Final[dict[Hashable, float]] = {}
_changed: Final = threading.Condition()


def expect(who: Hashable, *, at: float) -> None:
    """`who` waits, to begin at that instant (monotonic)."""
    with _changed:
        _beginning[who] = at


def has_begun(who: Hashable) -> bool:
    """`who` has nothing left to begin; False if nobody expected it."""
    with _changed:
        was_expected = _beginning.pop(who, None) is not None
        if was_expected:
            _changed.notify_all()
    return was_expected


def let_others_begin() -> None:
    """Wait for those whose instant has come."""
    ends = time.monotonic() + MOST_SECONDS
    with _changed:
        while (now := time.monotonic()) < ends and any(at <= now for at in _beginning.values()):
            _changed.wait(ends - now)
