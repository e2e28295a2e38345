"""One message sets a whole worker going: further messages, short ones together, long ones apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from django.db.backends.postgresql.base import DatabaseWrapper

from agents_app import backlog, draining, shift, threads
from agents_app.handlers.base import Context
from scheduler_app import envelopes, queues
from tests.agents_app.scripted import PATIENCE_SECONDS, Anything, Queue, stored

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = 4


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """A queue of this test, read by this process."""
    name = f"queue-{uuid4()}"
    monkeypatch.setattr(backlog._Found, "queues", [name])
    monkeypatch.setattr(backlog._Found, "nothing_until", float("-inf"))
    return name


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Celery's consumer, as far as `threads` looks at it, with a pool of LIMIT threads."""
    executor = ThreadPoolExecutor(LIMIT)
    pool = SimpleNamespace(limit=LIMIT, executor=executor)
    monkeypatch.setattr(threads._Worker, "consumer", SimpleNamespace(pool=pool, hub=None))
    monkeypatch.setattr(threads._Worker, "limit", LIMIT)
    monkeypatch.setattr(threads._Worker, "started_here", 0)
    monkeypatch.setattr(threads._Worker, "lanes", {})
    yield pool
    executor.shutdown()


def send(name: str, ids: list[UUID], *, predicted_ms: float | None = None) -> None:
    work = [predicted_ms] * len(ids)
    slices = [[one] for one in ids]
    queues.broker().lpush(name, *envelopes.build(slices, queue=name, predicted_ms=work))


def test_what_stands_in_the_queue_is_carried_out_with_the_message(queue: Queue, name: str) -> None:
    first, *others = [queue() for _ in range(9)]
    send(name, others, predicted_ms=0.1)

    shift.work([first])

    assert {stored(one).status for one in [first, *others]} == {"completed"}
    assert [stored(one).slice_size for one in others] == [4, 4, 4, 4, 2, 2, 1, 1]


def test_a_worker_that_drains_leaves_the_queue_to_others(queue: Queue, name: str) -> None:
    first, *others = [queue(lambda _: draining.begin()) for _ in range(3)]
    send(name, others, predicted_ms=0.1)

    try:
        shift.work([first])
    finally:
        draining._begun.clear()

    assert {stored(one).status for one in others} == {"queued"}
    assert queues.broker().llen(name) == 2


def test_a_worker_that_ends_meanwhile_gives_back_what_no_thread_has_begun(
    queue: Queue, name: str, pool: SimpleNamespace
) -> None:
    first, *others = [queue() for _ in range(4)]
    send(name, others)
    pool.executor.shutdown()

    shift.work([first])

    assert "running" not in {stored(one).status for one in others}
    assert {stored(one).attempt for one in others if stored(one).status == "queued"} == {0}
    assert {stored(one).status for one in others if stored(one).published_at is None} == {"queued"}
    assert pool.limit == LIMIT


def test_two_lanes_of_short_work_keep_celery_from_taking_more(pool: SimpleNamespace) -> None:
    first, second, third = threads.Lane(), threads.Lane(), threads.Lane()

    assert (first.enter(), second.enter(), third.enter()) == (False, False, True)
    assert pool.limit == 0
    second.leave()
    assert pool.limit == LIMIT
    first.leave()


def test_a_lane_whose_work_is_not_short_lapses(
    pool: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "SLOW_SECONDS", 0.0)
    lanes = [threads.Lane(), threads.Lane()]
    for lane in lanes:
        lane.enter()

    threads.forget_slow_lanes()

    assert pool.limit == LIMIT


def test_long_ones_run_beside_each_other_in_the_free_threads(
    queue: Queue, name: str, pool: SimpleNamespace, pooled: DatabaseWrapper
) -> None:
    everybody = threading.Barrier(LIMIT)

    def meet(_: Context[Anything]) -> None:
        everybody.wait(PATIENCE_SECONDS)

    first, *others = [queue(meet) for _ in range(LIMIT)]
    send(name, [*others, *[queue(meet) for _ in range(LIMIT)]])

    shift.work([first])
    pool.executor.shutdown()

    assert {stored(one).status for one in [first, *others]} == {"completed"}
    assert {stored(one).slice_size for one in others} == {1}
    assert pool.limit == LIMIT
