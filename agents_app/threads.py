"""The threads of this worker: how many are free, and whether Celery is to give out any of them.

Celery gives out a thread for each message that it takes. Work that is started here takes a thread
too, and Celery is told that it has one less, so that it leaves the messages to other workers. Short
work does not get faster by more threads; while two of them are busy with it, and look at the queues
themselves every moment, Celery takes nothing at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ClassVar, Final

from celery.concurrency.thread import TaskPool
from celery.signals import worker_ready
from celery.worker import state

from agents_app import connections

ON_ITS_WAY: Final = 1  # a message that Celery asked for already may come in at any moment
LANES: Final = 2  # one computes while the other waits for PostgreSQL
SLOW_SECONDS: Final = 1.0

_guard = threading.Lock()


class _Worker:
    """Celery's consumer in this process; none outside a worker that runs threads."""

    consumer: Any = None
    limit = 0
    started_here = 0
    lanes: ClassVar[dict[Lane, float]] = {}


class Lane:
    """One thread's claim to be busy with short work; it lapses if the work is not short."""

    def enter(self) -> bool:
        """The next short work begins now; True if there are lanes enough without this one."""
        with _guard:
            is_surplus = len(_Worker.lanes.keys() - {self}) >= LANES
            if not is_surplus:
                _Worker.lanes[self] = time.monotonic()
                _tell_celery()
        return is_surplus

    def leave(self) -> None:
        """The thread does something else."""
        with _guard:
            if _Worker.lanes.pop(self, None) is not None:
                _tell_celery()


@worker_ready.connect
def adopt(sender: Any, **_: Any) -> None:
    """Celery's consumer is ready: from now on its idle threads may be used."""
    if isinstance(sender.pool, TaskPool):
        _Worker.consumer, _Worker.limit = sender, sender.pool.limit


def reserve() -> int:
    """Take all free threads; each is to be used by `start`, or given back."""
    if _Worker.consumer is None:
        return 0
    with _guard:
        busy = _Worker.started_here + len(state.reserved_requests) + ON_ITS_WAY
        room = max(0, _Worker.limit - busy)
        _Worker.started_here += room
        _tell_celery()
    return room


def start(work: Callable[[], None], *, on_dropped: Callable[[], None]) -> None:
    """Run `work` in a reserved thread, which is given back in the end.

    `on_dropped` is called instead if the worker ends before a thread has begun. Raises RuntimeError
    if it has ended already.
    """

    def look(future: Future[None]) -> None:
        if future.cancelled():
            give_back(1)
            on_dropped()

    _Worker.consumer.pool.executor.submit(_run, work).add_done_callback(look)


def give_back(count: int) -> None:
    """Let others have these threads again."""
    if count:
        with _guard:
            _Worker.started_here -= count
            _tell_celery()


def forget_slow_lanes() -> None:
    """What was to be short and is not keeps Celery from nothing any more."""
    with _guard:
        latest = time.monotonic() - SLOW_SECONDS
        for lane in [one for one, began in _Worker.lanes.items() if began < latest]:
            del _Worker.lanes[lane]
        _tell_celery()


def _run(work: Callable[[], None]) -> None:
    try:
        work()
    finally:
        try:
            connections.after_message()
        finally:
            give_back(1)


def _tell_celery() -> None:
    consumer = _Worker.consumer
    if consumer is None:
        return
    is_held = len(_Worker.lanes) >= LANES
    before, now = consumer.pool.limit, 0 if is_held else _Worker.limit - _Worker.started_here
    consumer.pool.limit = now
    if now > before and consumer.hub is not None:
        consumer.hub.call_soon(_look_again)


def _look_again() -> None:
    """Nothing: that it is called makes Celery's loop ask again whether there is a free thread."""
