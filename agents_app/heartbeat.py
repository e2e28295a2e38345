"""Keeps the leases of everything this process runs, and hears what was asked to stop.

One thread per process, whatever the number of executions: one statement renews all leases, one
reads all cancel requests. A lease that could not be renewed in time is given up here, before
anybody else may take it over. What waits in a slice behind a slow execution goes back from here.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol
from uuid import UUID

from django.db import connection

from agents_app import threads
from agents_app.slices import Held, Slice
from config.env import env
from executions_app import lifecycle

CANCEL_POLL_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


class Keeper(Protocol):
    """What is to be done about a slice that is late; called from the heartbeat's thread."""

    def relieve(self, slice_: Slice) -> None:
        """Let nobody wait for a slow neighbour."""

    def end(self, slice_: Slice, deaf: Sequence[Held]) -> None:
        """These go on long after their time limit and do not hear that they should stop.

        Their leases are kept until this has ended their attempts: nobody begins them meanwhile.
        """


class Heartbeat:
    """The registry of what runs here, and the thread that looks after it."""

    def __init__(self) -> None:
        self._slices: dict[Slice, Keeper] = {}
        self._guard = threading.Lock()
        self._pid = 0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    @contextmanager
    def holding(self, slice_: Slice, keeper: Keeper) -> Iterator[None]:
        """Keep the leases of a slice while the block runs; `keeper` acts when it is late."""
        self._ensure_thread()
        with self._guard:
            self._slices[slice_] = keeper
        self._wake.set()
        try:
            yield
        finally:
            with self._guard:
                self._slices.pop(slice_, None)

    def _ensure_thread(self) -> None:
        if self._is_beating():
            return
        with self._guard:
            if self._is_beating():
                return
            if self._pid != os.getpid():
                self._slices.clear()
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
            self._thread.start()

    def _is_beating(self) -> bool:
        return self._pid == os.getpid() and self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        renewed_at = time.monotonic()
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._slices:
                time.sleep(min(CANCEL_POLL_SECONDS, env.heartbeat_seconds))
                try:
                    if time.monotonic() - renewed_at >= env.heartbeat_seconds:
                        renewed_at = time.monotonic()
                        self.renew()
                    self.hear()
                    self._relieve()
                    connection.close()
                except Exception as error:  # noqa: BLE001  without this thread every lease ends
                    logger.warning("Leases could not be looked after just now: %s", error)
                    connection.close()
                self._drop_what_runs_out()
                threads.forget_slow_lanes()

    def _held(self) -> dict[UUID, Held]:
        with self._guard:
            slices = list(self._slices)
        newest: dict[UUID, Held] = {}
        for one in (one for slice_ in slices for one in slice_.held().values()):
            known = newest.setdefault(one.claimed.id, one)
            if known is not one:
                # Claimed again by this process: the lease of the earlier claim has ended.
                earlier, later = sorted((known, one), key=lambda it: it.claimed.started_at)
                newest[one.claimed.id] = later
                earlier.lose()
        return newest

    def renew(self) -> None:
        """Renew every lease once; what is not held any more is told to stop."""
        held = self._held()
        if not held:
            return
        asked_at = time.monotonic()
        kept = lifecycle.renew({id_: one.claimed.lease_token for id_, one in held.items()})
        for id_, one in held.items():
            if id_ in kept:
                one.seen_at = asked_at
            else:
                one.lose()

    def hear(self) -> None:
        """Pass on cancel requests."""
        held = self._held()
        for id_ in lifecycle.cancel_requests(list(held)) if held else ():
            held[id_].stop()

    def _relieve(self) -> None:
        with self._guard:
            slices = list(self._slices.items())
        for slice_, keeper in slices:
            if slice_.is_overrunning:
                keeper.relieve(slice_)
            if deaf := slice_.beyond(env.hard_limit_grace_seconds):
                keeper.end(slice_, deaf)

    def relieve_all(self) -> None:
        """Give back everything that has not begun, and store what has ended."""
        with self._guard:
            slices = list(self._slices.items())
        for slice_, keeper in slices:
            try:
                keeper.relieve(slice_)
            except Exception as error:  # noqa: BLE001  then the run itself does it when it ends
                logger.warning("What has not begun could not be given back yet: %s", error)
        connection.close()

    def cut(self) -> list[tuple[Slice, Held]]:
        """Tell everything that runs here to stop, for good; answers what it is."""
        with self._guard:
            slices = list(self._slices)
        running = [
            (slice_, one)
            for slice_ in slices
            for one in slice_.held().values()
            if not (one.is_ending or one.is_lost)
        ]
        for _, one in running:
            one.cut()
        return running

    def _drop_what_runs_out(self) -> None:
        """Give up each lease that may end before the next renewal could save it."""
        oldest = time.monotonic() - (env.lease_seconds - env.heartbeat_seconds / 2)
        for one in self._held().values():
            if one.seen_at < oldest:
                one.lose()


heartbeat = Heartbeat()
