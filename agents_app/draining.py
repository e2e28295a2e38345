"""Whether this process is to begin nothing more: asked before anything is claimed or begun."""

from __future__ import annotations

import threading
from typing import Final

from executions_app.states import SchedulerException

_begun: Final = threading.Event()


class NotBegun(SchedulerException):
    """The execution only waited for its turn: it goes back to its queue, and nothing was tried."""


def begin() -> None:
    """From now on nothing more begins in this process."""
    _begun.set()


def is_on() -> bool:
    """True once this process is to begin nothing more."""
    return _begun.is_set()


def wait(seconds: float) -> bool:
    """Wait until nothing more is to begin, for so long at most; answers whether that is so."""
    return _begun.wait(seconds)
