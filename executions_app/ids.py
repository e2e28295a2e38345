"""The identity of every row: a UUIDv7 whose time is the database's, so ids sort by time.

The large tables are partitioned by month on the id itself; the first 48 bits are milliseconds.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def new(now: datetime) -> UUID:
    """A fresh id of the instant `now`."""
    return uuid7(nanoseconds=int(now.timestamp() * 1000) * 1_000_000)


def floor(instant: datetime) -> UUID:
    """The smallest id that an instant can have: the bound of a partition or of a time filter."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)
