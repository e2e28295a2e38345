"""Processes that are told to stop, as a supervisor tells them, and what their end looked like."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from django.db import connection

from tests.processes import LONGEST_SECONDS, Process, System

SESSIONS: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'cadenza-worker%'
"""


def tell(process: Process, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask a process to end; the harness does not bring it back."""
    process.is_wanted = False
    process.blows[f"told by {number.name}"] += 1
    os.kill(process.pid, number)


def tell_group(process: Process, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask it and everything it forked, as a service manager may."""
    process.is_wanted = False
    process.blows[f"group told by {number.name}"] += 1
    os.killpg(process.pid, number)


def exit_status(system: System, process: Process, *, seconds: float = LONGEST_SECONDS) -> int:
    """How it ended; fails if it does not."""
    system.until(lambda: not process.is_alive(), what=f"{process.name} has ended", seconds=seconds)
    assert process.child is not None
    return int(process.child.returncode)


def leave(system: System, process: Process) -> int:
    """Ask it to end and wait until it has; answers its exit status."""
    tell(process)
    return exit_status(system, process)


def has_let_go_of_the_database(system: System) -> None:
    """Wait until PostgreSQL has no session of a worker: none is to run, nor a child of one."""
    system.until(lambda: not _sessions(), what="no session of a worker is left")


def _sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS)
        return int(cursor.fetchone()[0])


def says(process: Process, words: str, *, times: int = 1) -> bool:
    """True once it has said this so often."""
    return process.log.read_bytes()[process.log_begins :].count(words.encode()) >= times


@contextmanager
def locked(system: System, table: str) -> Iterator[None]:
    """Nobody else reads or writes the table while the block runs."""
    with psycopg.connect(system.environment["DATABASE_URL"]) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
