"""The threads of this worker that nothing runs in: how many there are, and how to start work there.

Celery gives out a thread for each message that it takes. Work that is started here takes a thread
too, and Celery is told that it has one less, so that it leaves the messages to other workers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from celery.concurrency.thread import TaskPool
from celery.signals import worker_ready
from celery.worker import state

ON_ITS_WAY: Final = 1  # a message that Celery asked for already may come in at any moment

_guard = threading.Lock()


class _Worker:
    """Celery's consumer in this process; none outside a worker that runs threads."""

    consumer: Any = None


@worker_ready.connect
def adopt(sender: Any, **_: Any) -> None:
    """Celery's consumer is ready: from now on its idle threads may be used."""
    if isinstance(sender.pool, TaskPool):
        _Worker.consumer = sender


def reserve() -> int:
    """Take all free threads from Celery; each is to be used by `start`, or given back."""
    consumer = _Worker.consumer
    if consumer is None:
        return 0
    with _guard:
        room = max(0, int(consumer.pool.limit) - len(state.reserved_requests) - ON_ITS_WAY)
        consumer.pool.limit -= room
    return room


def start(work: Callable[[], None]) -> None:
    """Run `work` in a reserved thread, which is given back in the end."""
    _Worker.consumer.pool.executor.submit(_run, work)


def give_back(count: int) -> None:
    """Let Celery have these threads again."""
    consumer = _Worker.consumer
    if not count:
        return
    with _guard:
        consumer.pool.limit += count
    if consumer.hub is not None:
        consumer.hub.call_soon(_look_again)


def _run(work: Callable[[], None]) -> None:
    try:
        work()
    finally:
        give_back(1)


def _look_again() -> None:
    """Nothing: that it is called makes Celery's loop ask again whether there is a free thread."""
