"""The identity of every row: a UUIDv7 whose time is the database's, so ids sort by time.

The large tables are partitioned by month on the id itself; the first 48 bits are milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

AT_ONCE: Final = 100
LOW_62: Final = (1 << 62) - 1


def new(now: datetime) -> UUID:
    """A fresh id of the instant `now`."""
    return uuid7(nanoseconds=int(now.timestamp() * 1000) * 1_000_000)


def stream(now: datetime) -> Iterator[UUID]:
    """Fresh ids of the instant `now`, one after the other: each far cheaper than `new`."""
    base = (int(now.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62)
    while True:
        random = memoryview(os.urandom(10 * AT_ONCE))
        for start in range(0, 10 * AT_ONCE, 10):
            bits = int.from_bytes(random[start : start + 10])
            yield UUID(int=base | (bits & LOW_62) | (bits >> 68 << 64))


def instant(id_: UUID) -> datetime:
    """The instant of an id, to the millisecond."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=id_.int >> 80)


def floor(instant: datetime) -> UUID:
    """The smallest id that an instant can have: the bound of a partition or of a time filter."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)


def as_uuid(reference: str) -> UUID | None:
    """The id that is written there; None if it is none."""
    try:
        return UUID(reference)
    except ValueError:
        return None
