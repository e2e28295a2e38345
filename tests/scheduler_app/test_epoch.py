"""A Redis that loses everything while a beat is about to count its round."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from django.db import connection, transaction

from executions_app.models import SystemState
from scheduler_app import epoch, queues
from scheduler_app.models import Schedule
from tests.scheduler_app.test_beat import queued_and_sent

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_SECONDS: Final = 60.0
WAITING: Final = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()
)
"""


def keep_patiently() -> int:
    """A round of another beat, which waits for locked rows as long as it takes."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")
        return epoch.keep()
    finally:
        connection.close()


def wait_for_somebody_who_waits() -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # one transaction sees one of them
            cursor.execute(WAITING)
            if cursor.fetchone()[0]:
                return
            assert time.monotonic() < ends, "nobody waits for the row"
            time.sleep(0.01)


def test_a_redis_that_is_emptied_in_the_middle_of_a_round_is_noticed_in_the_next(
    make_schedule: Callable[..., Schedule],
) -> None:
    queued_and_sent(make_schedule)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            SystemState.objects.select_for_update().get()
            other = pool.submit(keep_patiently)
            wait_for_somebody_who_waits()  # it has read what Redis knows, and not yet counted
            queues.broker().flushall()
        assert other.result() == 0

    assert epoch.keep() == 1


def test_beats_that_count_at_once_leave_no_lag_that_would_be_a_loss(
    make_schedule: Callable[..., Schedule],
) -> None:
    queued_and_sent(make_schedule)

    with ThreadPoolExecutor(4) as pool:
        marked = [pool.submit(keep_patiently) for _ in range(20)]

    assert {each.result() for each in marked} == {0}
