"""PostgreSQL's clock, which decides about everything, set on or back while all processes live.

No clock of a machine is touched. The test's database has a `now()` and a `clock_timestamp()` of
its own, which its search path puts before PostgreSQL's: they add what was set. A transaction that
had begun before goes on by the old clock, as it would. Only the defaults of columns keep to the
machine's clock: they say when a row was made and decide nothing here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import connection

from executions_app import clock

INSTALL: Final = """
CREATE TABLE clock_set (since timestamptz PRIMARY KEY, off_by interval NOT NULL);
CREATE FUNCTION clock_off_by(at timestamptz) RETURNS interval LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT off_by FROM clock_set WHERE since <= at ORDER BY since DESC LIMIT 1), interval '0'
    )
$$;
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.now() + public.clock_off_by(pg_catalog.now())
$$;
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT pg_catalog.clock_timestamp() + public.clock_off_by(pg_catalog.clock_timestamp())
$$;
"""
MINE_FIRST: Final = """
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
END $$
"""
# From then on, so that this transaction does not begin by one clock and end by another.
SET: Final = """
INSERT INTO clock_set
VALUES (pg_catalog.clock_timestamp() + interval '50 milliseconds', %s * interval '1 second')
RETURNING since
"""


def install() -> None:
    """Give this database a clock that can be set; whoever connects from now on goes by it."""
    with connection.cursor() as cursor:
        cursor.execute(INSTALL)
        cursor.execute(MINE_FIRST)
    connection.close()


def put(off_by: timedelta) -> None:
    """Let the clock show so much more than the machine's, or less."""
    with connection.cursor() as cursor:
        cursor.execute(SET, [off_by.total_seconds()])
        cursor.execute("SELECT pg_sleep_until(%s)", [cursor.fetchone()[0]])


def times_set() -> int:
    """How often it was set."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM clock_set")
        return int(cursor.fetchone()[0])


def now() -> datetime:
    """What it shows."""
    return clock.now()
