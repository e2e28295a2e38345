"""Whose fault a refused statement is: that of the row, or of the database as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from django.db import InterfaceError, OperationalError, connection

DEADLOCK: Final = "40P01"
DEADLOCK_TRIES: Final = 5
TOO_LARGE: Final = "54"  # the class of limits that one row exceeds
SHUTTING_DOWN: Final = "57P"
NO_SPACE: Final = "53100"
READ_ONLY: Final = "25006"  # a standby, or a server that was set so because its disk is full

Answer = TypeVar("Answer")


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code for `error`; empty if the server never answered."""
    return getattr(error.__cause__, "sqlstate", None) or ""


def is_of_the_database(error: BaseException) -> bool:
    """True for a full disk, a lost connection, a timeout, a deadlock: nothing a row can help."""
    if isinstance(error, InterfaceError):
        return True
    return isinstance(error, OperationalError) and not sqlstate(error).startswith(TOO_LARGE)


def is_away(error: BaseException) -> bool:
    """True if the connection is gone, so that no other statement has a chance either."""
    if not isinstance(error, (InterfaceError, OperationalError)):
        return False
    return not sqlstate(error) or sqlstate(error).startswith(SHUTTING_DOWN)


def despite_deadlocks(write: Callable[[], Answer]) -> Answer:
    """Run `write`, which is one transaction, again if PostgreSQL ended it to break a deadlock.

    Inside of a transaction of the caller there is no second try: all of it is undone.
    """
    for _ in range(1, DEADLOCK_TRIES):
        try:
            return write()
        except OperationalError as error:
            if sqlstate(error) != DEADLOCK or connection.in_atomic_block:
                raise
    return write()
