"""Keeps what this process carries out of cycles, stages and steps, and hears when it is to stop.

One thread per process, as `heartbeat` is for executions: one statement renews all stages, one all
steps, one reads which executions were asked to stop.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection
from django.utils import timezone

from agents_app.cycle import rows
from agents_app.metering import Meter
from config.env import env
from errors_app.taxonomy import Cancelled, DeadlineExceeded, LeaseLost
from executions_app import lifecycle, refusals, steps
from executions_app.ledger import Usage

LOOK_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


class Work:
    """A stage or a step that this process carries out, in the thread that makes this."""

    def __init__(
        self, id_: UUID, token: UUID, *, execution_id: UUID, deadline: datetime, is_stage: bool
    ) -> None:
        self.id, self.token, self.execution_id = id_, token, execution_id
        self.is_stage = is_stage
        self.seen_at = time.monotonic()  # when its lease was last known to be renewed
        self.ends_at = time.monotonic() + (deadline - timezone.now()).total_seconds()
        self.is_cancelled = self.is_lost = self.is_cut = False
        self._meter = Meter()
        self._elsewhere: list[Usage] = []

    def lose(self) -> None:
        """It is another's from now on."""
        if not self.is_lost:
            self.is_lost = True
            refusals.writes.add()

    def add(self, usage: Usage) -> None:
        """Count what was done for it in another thread."""
        self._elsewhere.append(usage)

    def took(self) -> Usage:
        """What it took of the machine, since this was last asked."""
        parts = [self._meter.usage(), *self._elsewhere]
        self._meter, self._elsewhere = Meter(), []
        return Usage.together(parts)

    def check(self) -> None:
        """Raise LeaseLost, Cancelled or DeadlineExceeded when it has to stop."""
        if self.is_lost or self.is_cut:
            raise LeaseLost("This work is no longer this process's")
        if self.is_cancelled:
            raise Cancelled("The execution was asked to stop")
        if time.monotonic() >= self.ends_at:
            raise DeadlineExceeded("The time limit of the execution has passed; raise timeout_ms")

    def seconds_left(self) -> float:
        """Until its deadline; at least 0."""
        return max(0.0, self.ends_at - time.monotonic())


class Keeper:
    """The works of this process, and the thread that looks after them."""

    def __init__(self) -> None:
        self._works: set[Work] = set()
        self._guard = threading.Lock()
        self._pid = 0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    @contextmanager
    def holding(self, work: Work) -> Iterator[Work]:
        """Keep a lease while the block runs."""
        self._ensure_thread()
        with self._guard:
            self._works.add(work)
        self._wake.set()
        try:
            yield work
        finally:
            with self._guard:
                self._works.discard(work)

    def cut(self) -> list[Work]:
        """Tell everything to stop because this process ends; answers what it is."""
        works = self._now()
        for one in works:
            one.is_cut = True
        return works

    def holds(self, works: Iterable[Work]) -> bool:
        """Whether any of these is still carried out."""
        with self._guard:
            return any(one in self._works for one in works)

    def _ensure_thread(self) -> None:
        with self._guard:
            is_alive = self._thread is not None and self._thread.is_alive()
            if self._pid == os.getpid() and is_alive:
                return
            if self._pid != os.getpid():
                self._works.clear()
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name="cycles", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        renewed_at = time.monotonic()
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._works:
                time.sleep(min(LOOK_SECONDS, env.heartbeat_seconds))
                try:
                    if time.monotonic() - renewed_at >= env.heartbeat_seconds:
                        renewed_at = time.monotonic()
                        self.renew()
                    self.hear()
                except Exception as error:  # noqa: BLE001  without this thread every lease ends
                    logger.warning("Leases of cycles could not be looked after: %s", error)
                finally:
                    connection.close()
                self._drop_what_runs_out()

    def _now(self) -> list[Work]:
        with self._guard:
            return list(self._works)

    def renew(self) -> None:
        """Extend the leases; what is not held any more hears of it."""
        works = self._now()
        self._renew([one for one in works if one.is_stage], rows.renew)
        self._renew([one for one in works if not one.is_stage], steps.renew)

    @staticmethod
    def _renew(works: list[Work], renew: Callable[[Mapping[UUID, UUID]], set[UUID]]) -> None:
        if not works:
            return
        asked_at = time.monotonic()
        kept = renew({one.token: one.id for one in works})
        for one in works:
            if one.token in kept:
                one.seen_at = asked_at
            else:
                one.lose()

    def hear(self) -> None:
        """Pass on cancel requests."""
        works = self._now()
        asked = lifecycle.cancel_requests([one.execution_id for one in works]) if works else set()
        for one in works:
            one.is_cancelled = one.is_cancelled or one.execution_id in asked

    def _drop_what_runs_out(self) -> None:
        oldest = time.monotonic() - (env.lease_seconds - env.heartbeat_seconds / 2)
        for one in self._now():
            if one.seen_at < oldest:
                one.lose()


keeper = Keeper()
