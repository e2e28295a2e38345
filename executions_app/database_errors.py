"""Whose fault a refused statement is: that of the row, or of the database as a whole."""

from __future__ import annotations

from typing import Final

from django.db import InterfaceError, OperationalError

DEADLOCK: Final = "40P01"
TOO_LARGE: Final = "54"  # the class of limits that one row exceeds
SHUTTING_DOWN: Final = "57P"


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
