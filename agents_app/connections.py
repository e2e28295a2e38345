"""Who holds a connection to PostgreSQL while executions run: only who uses it just now."""

from __future__ import annotations

from django.db import connection


def after_message() -> None:
    """Between two messages: none is kept by a thread, and no broken one by a process."""
    let_go()
    connection.close_if_unusable_or_obsolete()


def let_go() -> None:
    """Give a pooled connection back to the other threads; a process with one thread keeps its own.

    Inside a transaction nothing happens: it is the caller's.
    """
    is_pooled = "pool" in connection.settings_dict["OPTIONS"]
    if connection.connection is not None and is_pooled and not connection.in_atomic_block:
        connection.close()
