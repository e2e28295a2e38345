"""What a process was refused is counted, its children included, and told with its presence."""

from __future__ import annotations

import os
import signal
import threading
import warnings

import pytest

from executions_app import lifecycle, refusals
from executions_app.models import Process, ProcessKind
from executions_app.presence import Self
from executions_app.refusals import Tally
from executions_app.states import LostRace
from tests.factories import ExecutionFactory


@pytest.mark.django_db(transaction=True)
def test_a_message_that_comes_too_late_and_a_write_without_a_lease_are_counted() -> None:
    wanted = [ExecutionFactory.create().id for _ in range(3)]
    before = refusals.claims.value, refusals.writes.value

    claimed = lifecycle.claim(wanted[:2], worker_id="one")
    again = lifecycle.claim(wanted, worker_id="another")
    done = [lifecycle.completion(one, output=None) for one in (*claimed, *again)]
    lifecycle.leave_all(done)
    (late,) = lifecycle.leave_all(done[:1])
    with pytest.raises(LostRace):
        lifecycle.report_progress(claimed[0], {"done": 1})

    assert (len(claimed), len(again)) == (2, 1)
    assert isinstance(late, LostRace)
    assert (refusals.claims.value - before[0], refusals.writes.value - before[1]) == (2, 2)


@pytest.mark.django_db
def test_a_process_tells_what_it_was_refused() -> None:
    mine = Self(ProcessKind.WORKER, "io@one", [])
    mine.write()
    refusals.claims.add(3)

    mine.write()

    found = Process.objects.get()
    assert found.refused_claims == refusals.claims.value >= 3
    assert found.refused_writes == refusals.writes.value


def test_children_count_for_their_parent_also_where_it_was_just_counting() -> None:
    tally = Tally()
    tally.add()
    with tally._guard, warnings.catch_warnings():  # as another thread may hold it just then
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
        if not child:
            signal.alarm(10)
            try:
                tally.add(5)
                os._exit(0)
            finally:
                os._exit(1)
    _, status = os.waitpid(child, 0)

    assert (status, tally.value) == (0, 6)
    tally.add(0)
    tally.add(-1)
    assert tally.value == 6


def test_threads_lose_no_count() -> None:
    tally = Tally()

    def counts() -> None:
        for _ in range(1_000):
            tally.add()

    threads = [threading.Thread(target=counts) for _ in range(8)]

    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert tally.value == 8_000
