"""How long an execution's call may still take and how much it may still read, at every wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from errors_app.taxonomy import ErrorClass, HandlerError

# A handler that waits looks once a second whether it has to stop. Every look of a thousand waiting
# calls costs a thread switch, so it is taken hardly more often.
SLICE_SECONDS: Final = 0.9


class Patience:
    """One call's: its deadline, its byte limit, and whoever wants it stopped (`check`).

    `is_untouched`: since the last sending no connection was made and no byte was read. `has_sent`:
    bytes of a request may have reached somebody, who may have acted on them.
    """

    def __init__(self, *, timeout: float, max_bytes: int, check: Callable[[], None]) -> None:
        self._timeout = timeout
        self._ends = time.monotonic() + timeout
        self._bytes_left = max_bytes
        self._check = check
        self.is_untouched = True
        self.has_sent = False

    def seconds(self, at_most: float = SLICE_SECONDS) -> float:
        """The next wait; raises what `check` raises, and a timeout once the time is over."""
        self._check()
        left = self._ends - time.monotonic()
        if left <= 0:
            raise HandlerError(
                f"The call did not end within its {self._timeout:g} s; "
                "raise its time limit or make the endpoint faster",
                error_class=ErrorClass.TIMEOUT,
            )
        return min(left, at_most)

    def count(self, size: int) -> None:
        """Note `size` bytes read from the wire; raises when they are too many."""
        self.is_untouched &= size == 0
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise HandlerError(
                "The answer was given up: its headers or its transfer coding have no end",
                error_class=ErrorClass.MALFORMED,
            )


patience: ContextVar[Patience] = ContextVar("patience")


def pause(seconds: float, check: Callable[[], None]) -> None:
    """Wait; `check` is called at least once a second, and what it raises ends the wait."""
    ends = time.monotonic() + seconds
    check()
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(left, SLICE_SECONDS))
        check()
