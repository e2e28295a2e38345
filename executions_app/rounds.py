"""A thread beside what carries out executions: it does one small duty again and again.

It belongs to the process that started it (a child of a fork has none), survives whatever the duty
raises, gives a pooled connection back between two rounds, and never keeps a process from ending.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable

from django.db import connection

logger = logging.getLogger(__name__)


class Rounds:
    """Calls `duty` every `seconds`, and earlier when it is woken."""

    def __init__(self, name: str, duty: Callable[[], None], *, seconds: float) -> None:
        self._name, self._duty, self._seconds = name, duty, seconds
        self._guard = threading.Lock()
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._is_over = False
        self._has_failed = False

    def start(self) -> None:
        """Begin; nothing if it runs already in this process."""
        with self._guard:
            if self.is_running:
                return
            self._pid, self._is_over = os.getpid(), False
            self._calls = queue.SimpleQueue()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self, *, wait_seconds: float = 2.0) -> None:
        """End after the round that runs, for which is waited no longer than this.

        May be called from a signal handler if nothing is waited for.
        """
        thread = self._thread
        self._is_over = True
        self.wake()
        if not wait_seconds or self._pid != os.getpid():
            return
        if thread and thread is not threading.current_thread():
            thread.join(wait_seconds)

    def wake(self) -> None:
        """Do the duty at once; may be called from a signal handler.

        One signal may interrupt the handler of another: an `Event` would wait for itself.
        """
        self._calls.put(None)

    @property
    def is_running(self) -> bool:
        thread = self._thread
        return self._pid == os.getpid() and thread is not None and thread.is_alive()

    def _run(self) -> None:
        while not self._is_over:
            self._once()
            self._rest()
        connection.close()

    def _rest(self) -> None:
        """Until it is woken, by however many calls, or the next round is due."""
        try:
            self._calls.get(timeout=self._seconds)
            while True:
                self._calls.get_nowait()
        except queue.Empty:
            return

    def _once(self) -> None:
        try:
            self._duty()
            if "pool" in connection.settings_dict["OPTIONS"]:
                connection.close()
            self._has_failed = False
        except Exception as error:  # noqa: BLE001  the next round tries again
            connection.close()
            if not self._has_failed:
                logger.warning("The round of %s failed; it is tried again: %s", self._name, error)
            self._has_failed = True
