"""After a failed attempt is recorded: the error trackers outside of the system that hear of it.

Nothing here knows any of them: the wiring connects one at the start of a process. They hear after
the commit, once for each error record, and nothing that they do can undo or delay the recovery.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from django.db import transaction

from errors_app.models import ErrorRecord
from executions_app.ledger import Claimed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An error, its record, and the attempt: what that was given is never to be shown."""

    error: BaseException
    record: ErrorRecord
    held: Claimed


class Tracker(Protocol):
    """Whoever hears of errors; neither verb may block, and what they raise is logged only."""

    def tell(self, recorded: Recorded) -> None: ...

    def flush(self, *, seconds: float) -> None:
        """Send what is left, for so long at most; this process is about to end."""


_connected: list[Tracker] = []


def connect(tracker: Tracker) -> None:
    """From now on this one hears, and no other."""
    _connected[:] = [tracker]


def disconnect() -> None:
    """Nobody hears any more."""
    _connected.clear()


def tell(error: BaseException, held: Claimed, record: ErrorRecord) -> None:
    """In the transaction that records a failed attempt: tell of it once that is committed."""
    for one in _connected:
        transaction.on_commit(partial(one.tell, Recorded(error, record, held)), robust=True)


def flush(*, seconds: float) -> None:
    """Before the process ends without Python's own ending; answers within so many seconds."""
    for one in _connected:
        try:
            one.flush(seconds=seconds)
        except Exception:
            logger.exception("An error tracker did not take what was left")
