"""Who holds a connection to PostgreSQL while executions run: only who uses it just now."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connection

from config.env import env

BESIDES: Final = 6  # of the pool: for claims, outcomes, leases
_turns: Final = threading.BoundedSemaphore(max(2, env.database_pool_size - BESIDES))


@contextmanager
def turn() -> Iterator[None]:
    """For transactions that hold a connection while they wait for others: some of them at a time.

    Hundreds of threads may want one at once. Whoever waits here waits for its turn, and has none in
    hand meanwhile; whoever waits for the pool is refused after seconds, and so are those who only
    have an outcome to store.
    """
    let_go()
    with _turns:
        try:
            yield
        finally:
            let_go()


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
