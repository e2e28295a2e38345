"""Before any execution: whether the database has the tables that this code was written for.

Beats and workers may be started before `manage.py migrate`, or before PostgreSQL: they say so and
wait. A web process answers meanwhile and is not ready.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor

LOOK_EVERY_SECONDS: Final = 1.0
MOST_NAMED: Final = 3

logger = logging.getLogger(__name__)


class _Known:
    """What was once applied stays so as long as this process lives."""

    is_whole = False


def missing() -> list[str]:
    """The migrations that are not applied yet, `app.name`; none is looked for once none was found.

    Raises DatabaseError or InterfaceError when PostgreSQL does not answer.
    """
    if _Known.is_whole:
        return []
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    _Known.is_whole = not plan
    return [f"{one.app_label}.{one.name}" for one, _ in plan]


def told(names: list[str]) -> str:
    """The sentence about missing migrations, with what to do."""
    more = ", ..." if len(names) > MOST_NAMED else ""
    listed = ", ".join(names[:MOST_NAMED]) + more
    fact = "1 migration is" if len(names) == 1 else f"{len(names)} migrations are"
    return f"{fact} not applied ({listed}): run `manage.py migrate`"


def wait() -> None:
    """Return when all migrations are applied; SIGTERM and SIGINT end the process with status 0.

    A reason is logged when it begins to hold, and once more what it waited for has come.
    """
    reason = ""
    with _ending_at_once():
        while found := _why_not():
            if found != reason:
                logger.warning("%s; this process waits and begins by itself", found)
            reason = found
            time.sleep(LOOK_EVERY_SECONDS)
    if reason:
        logger.warning("All migrations are applied; this process begins")


def _why_not() -> str:
    try:
        names = missing()
    except (DatabaseError, InterfaceError) as error:
        connection.close()
        return f"PostgreSQL does not answer: {str(error).strip()}"
    return told(names) if names else ""


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """Celery's own handlers would first finish what has not begun."""
    before: dict[int, Any] = {
        number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(_number: int, _frame: object) -> None:
    sys.exit(0)
