"""A host whose clock is wrong, for one process: Python imports this before anything else.

With this folder on PYTHONPATH, every clock of Python that shows the time of day is off by
HOST_CLOCK_OFF_BY seconds. The monotonic ones are not, as on a host whose clock was set.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import Any

OFF_BY = float(os.environ["HOST_CLOCK_OFF_BY"])
_time, _time_ns = time.time, time.time_ns
_Real = dt.datetime


class _Kind(type):
    """What the real class makes is one of these, too."""

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, _Real)

    def __subclasscheck__(cls, one: type) -> bool:
        return issubclass(one, _Real)


class _Skewed(_Real, metaclass=_Kind):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return _Real.fromtimestamp(time.time(), tz)

    @classmethod
    def today(cls) -> Any:
        return _Real.fromtimestamp(time.time())

    @classmethod
    def utcnow(cls) -> Any:
        return _Real.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)


_Skewed.__module__, _Skewed.__qualname__, _Skewed.__name__ = "datetime", "datetime", "datetime"
time.time = lambda: _time() + OFF_BY
time.time_ns = lambda: _time_ns() + int(OFF_BY * 1_000_000_000)
dt.datetime = _Skewed  # type: ignore[misc]
