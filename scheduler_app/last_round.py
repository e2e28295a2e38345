"""A beat that is told to stop ends between two rounds: what a round has committed, it also sends.

Celery's own handler raises SystemExit wherever the process stands: behind a commit and before the
message, work would wait until it is found overdue.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.signals import beat_init


class _Round:
    is_on = False
    is_last = False


@beat_init.connect
def listen(**_: Any) -> None:
    """A beat begins, and Celery has installed its handlers: these take their place."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)


@contextmanager
def whole() -> Iterator[None]:
    """The block is one round; SystemExit is raised after it if the beat was told to stop."""
    _Round.is_on = True
    try:
        yield
    finally:
        _Round.is_on = False
    if _Round.is_last:
        raise SystemExit


def _stop(_number: int, _frame: object) -> None:
    """Asked a second time, even a round ends where it stands."""
    if _Round.is_on and not _Round.is_last:
        _Round.is_last = True
        return
    raise SystemExit
