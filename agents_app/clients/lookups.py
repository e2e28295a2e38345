"""Finds the address of the host that an execution calls; a resolver that hangs is not waited for.

Calls that ask for the same name at the same time share one question to the resolver, and its answer
serves for a moment: a thousand executions of one endpoint ask once. What may be connected to is
decided elsewhere and for every call (`addresses`), so an answer that is held opens nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any, Final, NamedTuple

from agents_app.clients.patience import patience
from errors_app.taxonomy import ErrorClass, HandlerError

LOOKUPS_AT_ONCE: Final = 64
ANSWER_SERVES_SECONDS: Final = 2.0
MOST_NAMES: Final = 1024


class _Asked(NamedTuple):
    answer: Future[list[Any]]
    asked_at: float

    def serves(self, now: float) -> bool:
        has_failed = self.answer.done() and self.answer.exception() is not None
        return not has_failed and now - self.asked_at < ANSWER_SERVES_SECONDS


@lru_cache(MOST_NAMES)
def _literal(host: str) -> str:
    """The host itself if it is an address, else nothing."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


class Lookups:
    """The names of one process on their way to addresses. Used by many threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="lookup")
        self._asked: dict[tuple[str, int], _Asked] = {}
        self._guard = threading.Lock()

    def address(self, host: str, *, port: int) -> str:
        """The address of `host`, IPv4 before IPv6; raises HandlerError if it has none."""
        if literal := _literal(host):
            return literal
        answer = self._ask(host, port)
        while not answer.done():
            wait([answer], timeout=patience.get().seconds())
        try:
            found = answer.result()
        except (OSError, UnicodeError) as error:
            raise HandlerError(
                f"The host name {host!r} could not be resolved: {error}",
                error_class=ErrorClass.TRANSIENT,
                host=host,
            ) from None
        return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])

    def _ask(self, host: str, port: int) -> Future[list[Any]]:
        now = time.monotonic()
        with self._guard:
            asked = self._asked.get((host, port))
            if asked is None or not asked.serves(now):
                if len(self._asked) >= MOST_NAMES:
                    self._asked.clear()
                question = self._threads.submit(
                    socket.getaddrinfo, host, port, type=socket.SOCK_STREAM
                )
                asked = self._asked[host, port] = _Asked(question, now)
            return asked.answer

    def close(self) -> None:
        self._threads.shutdown(wait=False)
