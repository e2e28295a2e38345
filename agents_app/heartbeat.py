"""Keeps the leases of everything this process runs, and hears what was asked to stop.

One thread per process, whatever the number of executions: one statement renews all leases, one
reads all cancel requests. A lease that could not be renewed in time is given up here, before
anybody else may take it over.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection

from agents_app.context import RunContext
from agents_app.handlers.base import Handler
from config.env import env
from executions_app import lifecycle

CANCEL_POLL_SECONDS: Final = 1.0
HARD_LIMIT_GRACE_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    context: RunContext[Any]
    handler: Handler[Any]
    renewed_at: float

    def is_running_out(self, now: float) -> bool:
        """True once the lease may end before the next renewal could save it."""
        return now - self.renewed_at > env.lease_seconds - env.heartbeat_seconds / 2


class Heartbeat:
    """The registry of running executions and the thread that keeps them."""

    def __init__(self) -> None:
        self._held: dict[UUID, _Held] = {}
        self._guard = threading.Lock()
        self._pid = 0
        self._wake = threading.Event()

    @contextmanager
    def holding(
        self, context: RunContext[Any], handler: Handler[Any], *, claimed_at: float
    ) -> Iterator[None]:
        """Keep the lease of one execution while the block runs; `claimed_at` is monotonic."""
        self._ensure_thread()
        with self._guard:
            self._held[context.execution_id] = _Held(context, handler, claimed_at)
        self._wake.set()
        try:
            yield
        finally:
            with self._guard:
                self._held.pop(context.execution_id, None)

    def _ensure_thread(self) -> None:
        with self._guard:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._held.clear()
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        renewed_at = time.monotonic()
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._snapshot():
                try:
                    if time.monotonic() - renewed_at >= env.heartbeat_seconds:
                        renewed_at = time.monotonic()
                        self.renew()
                    self.hear()
                    connection.close()
                except Exception as error:  # noqa: BLE001  without this thread every lease ends
                    logger.warning("Leases could not be looked after just now: %s", error)
                    connection.close()
                self._drop_what_runs_out()
                time.sleep(min(CANCEL_POLL_SECONDS, env.heartbeat_seconds))

    def _snapshot(self) -> dict[UUID, _Held]:
        with self._guard:
            return dict(self._held)

    def renew(self) -> None:
        """Renew every lease once; what is not held any more is told to stop."""
        held = {
            id_: one
            for id_, one in self._snapshot().items()
            if one.context.seconds_over < HARD_LIMIT_GRACE_SECONDS
        }
        if not held:
            return
        asked_at = time.monotonic()
        kept = lifecycle.renew({id_: one.context.claimed.lease_token for id_, one in held.items()})
        for id_, one in held.items():
            if id_ in kept:
                one.renewed_at = asked_at
            else:
                self._lose(one)

    def hear(self) -> None:
        """Pass on cancel requests."""
        held = self._snapshot()
        for id_ in lifecycle.cancel_requests(list(held)) if held else ():
            one = held[id_]
            if not one.context.is_cancelled:
                one.context.is_cancelled = True
                self._tell_handler(one)

    def _drop_what_runs_out(self) -> None:
        now = time.monotonic()
        for one in self._snapshot().values():
            if one.is_running_out(now):
                self._lose(one)

    def _lose(self, one: _Held) -> None:
        if not one.context.is_lease_lost:
            one.context.is_lease_lost = True
            logger.warning("The lease of execution %s is lost", one.context.execution_id)
            self._tell_handler(one)

    @staticmethod
    def _tell_handler(one: _Held) -> None:
        try:
            one.handler.cancel(one.context)
        except BaseException:
            logger.exception("cancel() of the handler of %s failed", one.context.execution_id)


heartbeat = Heartbeat()
