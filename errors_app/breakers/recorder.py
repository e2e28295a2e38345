"""Writes down what became of the endpoints that executions call, beside them and never in the way.

A thread of its own with a connection of its own: a change of state is never part of somebody
else's transaction, and no call waits for it. Without PostgreSQL a change is logged and no more.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, Full, Queue
from typing import Final

from django.db import connection, transaction
from django.db.models import F

from errors_app.breakers.store import Change, Standing
from errors_app.models import Breaker, BreakerTransition
from executions_app import clock, events, ids
from executions_app.events import NewEvent
from executions_app.states import BreakerStatus

MOST_WAITING: Final = 1_000
IDLE_SECONDS: Final = 30.0
AHEAD: Final = timedelta(minutes=1)  # no clock of ours is that much before another
FORGOTTEN: Final = "Redis has lost its state"
UNSEEN: Final = "it was closed before, which was not stored"
EVENTS: Final = {
    BreakerStatus.OPEN: "breaker:opened",
    BreakerStatus.HALF_OPEN: "breaker:half_open",
    BreakerStatus.CLOSED: "breaker:closed",
}

logger = logging.getLogger(__name__)


class Recorder:
    """Hands what happened to the thread that writes, which ends when it has long been idle."""

    def __init__(self) -> None:
        self._queue: Queue[Callable[[], None]] = Queue(MOST_WAITING)
        self._guard = threading.Lock()
        self._is_running = False

    def record(self, change: Change) -> None:
        """Log a change of state, and have it stored."""
        level = logging.WARNING if change.target is BreakerStatus.OPEN else logging.INFO
        logger.log(
            level,
            "The breaker of %s is %s (was %s): %s; %s of %s calls failed",
            *(change.key, change.target.value, change.source.value, change.reason),
            *(change.failures, change.calls),
        )
        self._put(partial(record, change, worker=worker()))

    def see(self, found: Sequence[Standing]) -> None:
        """Have it stored that these endpoints are called, and how they stand."""
        self._put(partial(see, found, worker=worker()))

    def _put(self, write: Callable[[], None]) -> None:
        with self._guard:
            try:
                self._queue.put_nowait(write)
            except Full:
                logger.warning("A change of a breaker is not stored: too many wait to be")
                return
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="breaker-recorder", daemon=True).start()

    def _run(self) -> None:
        while (write := self._next()) is not None:
            try:
                write()
            except Exception as error:  # noqa: BLE001  whatever the database does, calls go on
                logger.warning("A change of a breaker could not be stored: %s", error)
            finally:
                connection.close()

    def _next(self) -> Callable[[], None] | None:
        try:
            return self._queue.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._guard:
                if self._queue.empty():
                    self._is_running = False
                    return None
            return self._queue.get_nowait()


def worker() -> str:
    """Who reports: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def record(change: Change, *, worker: str) -> None:
    """Store a change of state: its row, the breaker's, the event. In a transaction of its own."""
    with transaction.atomic():
        now = clock.now()
        _ensure([change.key], now=now)
        _append(change, worker=worker, now=now)
    events.announce()


def see(found: Sequence[Standing], *, worker: str) -> None:
    """Store that these endpoints are in use; correct those that Redis has forgotten."""
    by_key = {one.key: one for one in found}
    with transaction.atomic():
        now = clock.now()
        _ensure(sorted(by_key), now=now)
        wrong = Breaker.objects.filter(key__in=by_key).exclude(state=BreakerStatus.CLOSED)
        for row in wrong.order_by("id").select_for_update():
            standing = by_key[row.key]
            is_older = row.since is None or row.since < standing.at or row.since > now + AHEAD
            if standing.state is BreakerStatus.CLOSED and is_older:
                _append(_closed_unseen(row, standing), worker=worker, now=now)
    events.announce()


def _closed_unseen(row: Breaker, standing: Standing) -> Change:
    return Change(
        key=row.key,
        source=BreakerStatus(row.state),
        target=BreakerStatus.CLOSED,
        reason=UNSEEN if standing.is_known else FORGOTTEN,
        calls=0,
        failures=0,
        at=standing.at,
        next_probe_at=None,
    )


def _ensure(keys: Sequence[str], *, now: datetime) -> None:
    """A row for each, in one order for all who do so at the same time."""
    rows = [Breaker(id=ids.new(now), key=key, seen_at=now, created_at=now) for key in keys]
    Breaker.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["key"], update_fields=["seen_at"]
    )


def _append(change: Change, *, worker: str, now: datetime) -> None:
    is_opening = change.target is BreakerStatus.OPEN
    BreakerTransition.objects.create(
        id=ids.new(now),
        key=change.key,
        from_state=change.source,
        to_state=change.target,
        reason=change.reason,
        failures=change.failures,
        calls=change.calls,
        at=change.at,
        worker=worker,
        created_at=now,
    )
    row = Breaker.objects.filter(key=change.key)
    if is_opening:
        row.update(opened_count=F("opened_count") + 1)
    # Of two that arrive in the wrong order, the later one counts; but not a time that is to come,
    # of a clock that was set back since.
    row.exclude(since__gt=change.at, since__lte=now + AHEAD).update(
        state=change.target,
        since=change.at,
        next_probe_at=change.next_probe_at if is_opening else None,
        reason=change.reason,
    )
    events.emit([_told(change)])


def _told(change: Change) -> NewEvent:
    return NewEvent(
        type=EVENTS[change.target],
        topic=f"breaker:{change.key}",
        data={
            "key": change.key,
            "from": change.source.value,
            "state": change.target.value,
            "reason": change.reason,
            "failures": change.failures,
            "calls": change.calls,
            "at": change.at.isoformat(),
        },
    )
