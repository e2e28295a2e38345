"""Carries a call of a model over the sockets of the HTTP door, which let go at any moment.

The library that speaks the protocol brings a client which waits for each read by itself; here every
wait is cut into slices, and between two of them `ModelPatience` says whether the call may go on.
Nothing of the process' environment is sent: only the headers named here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

import httpx2
import urllib3.exceptions
from typing_extensions import override
from urllib3 import BaseHTTPResponse

from agents_app.clients.addresses import AllowList
from agents_app.clients.failures import typed
from agents_app.clients.llm_errors import ModelError
from agents_app.clients.outgoing import Outgoing, target
from agents_app.clients.patience import SLICE_SECONDS, Patience, patience
from agents_app.clients.transport import PinnedConnections
from errors_app.taxonomy import ErrorClass

MOST_BYTES: Final = 2 * 1024 * 1024
CHUNK_BYTES: Final = 16 * 1024
END_OF_STREAM: Final = b"[DONE]"
# Providers are set up by administrators, who may have their models on this very machine.
EVERYWHERE: Final = ["0.0.0.0/0", "::/0"]
SENT_ON: Final = frozenset({"accept", "content-type"})
SHOWN: Final = frozenset({"content-type", "retry-after", "x-request-id"})
OWN_HEADERS: Final = {"User-Agent": "Cadenza", "Accept-Encoding": "gzip, deflate"}


class ModelPatience(Patience):
    """One call's: until when it may last, until when it must have begun, and who wants it stopped.

    `stopped_by`: what ended the wait, which libraries on the way may have wrapped.
    """

    def __init__(
        self, *, ends_at: float, begins_by: float | None, check: Callable[[], None]
    ) -> None:
        now = time.monotonic()
        super().__init__(timeout=ends_at - now, max_bytes=MOST_BYTES, check=check)
        self._stop = check
        self._began_at = now
        self._ends_at = ends_at
        self._begins_by = begins_by
        self.stopped_by: Exception | None = None

    def has_begun(self) -> None:
        """The first words have come: from now on only the end counts."""
        self._begins_by = None

    @override
    def seconds(self, at_most: float = SLICE_SECONDS) -> float:
        try:
            self._stop()
        except Exception as error:
            self.stopped_by = error
            raise
        now = time.monotonic()
        ends_at = self._ends_at if self._begins_by is None else min(self._ends_at, self._begins_by)
        if now >= ends_at:
            raise self._too_late(now)
        return min(ends_at - now, at_most)

    def _too_late(self, now: float) -> ModelError:
        waited = f"{now - self._began_at:.1f} s"
        if now >= self._ends_at:
            message = f"The model did not end its answer within {waited}"
            todo = "raise LLM_TIMEOUT_SECONDS or the time limit, or ask for less"
        else:
            message = f"The model did not begin to answer within {waited}"
            todo = "raise LLM_FIRST_TOKEN_SECONDS if it thinks for long before it speaks"
        self.stopped_by = ModelError(f"{message}; {todo}", error_class=ErrorClass.TIMEOUT)
        return self.stopped_by

    @override
    def count(self, size: int) -> None:
        self.is_untouched &= size == 0
        self.take(size)

    def take(self, size: int) -> None:
        """Note bytes that were read or unpacked; raises ModelError when they are too many."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            self.stopped_by = ModelError(
                f"The answer was given up: it is longer than {MOST_BYTES} bytes",
                error_class=ErrorClass.MALFORMED,
            )
            raise self.stopped_by


@lru_cache(maxsize=1)
def _connections_of_process(pid: int) -> PinnedConnections:
    del pid
    return PinnedConnections(AllowList(EVERYWHERE))


def connections() -> PinnedConnections:
    """Those of this process; a forked child opens its own."""
    return _connections_of_process(os.getpid())


class Body(httpx2.SyncByteStream):
    """An answer as it comes in, unpacked; `is_whole` once the protocol's last event was in it."""

    def __init__(self, raw: BaseHTTPResponse, sent: Outgoing, call: ModelPatience) -> None:
        self._raw = raw
        self._sent = sent
        self._call = call
        self._tail = b""

    @property
    def is_whole(self) -> bool:
        return END_OF_STREAM in self._tail

    @override
    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._read():
            self._call.take(len(chunk))
            self._tail = (self._tail + chunk)[-len(END_OF_STREAM) - 16 :]
            yield chunk

    def _read(self) -> bytes:
        try:
            return self._raw.read1(CHUNK_BYTES, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise typed(error, self._sent) from error

    @override
    def close(self) -> None:
        self._raw.close()


class Transport(httpx2.BaseTransport):
    """Sends the requests of one call, with `headers` and the few that the protocol needs."""

    def __init__(self, call: ModelPatience, *, headers: Mapping[str, str]) -> None:
        self._call = call
        self._headers = headers
        self.body: Body | None = None

    @override
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer whatever the peer says, a redirect included; raises HandlerError if nothing."""
        protocol = {
            name: value for name, value in request.headers.items() if name.lower() in SENT_ON
        }
        sent = Outgoing(
            method=request.method,
            target=target(str(request.url)),
            headers={**OWN_HEADERS, **protocol, **self._headers},
            body=request.read(),
        )
        token = patience.set(self._call)
        try:
            raw = connections().send(sent)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise typed(error, sent) from error
        finally:
            patience.reset(token)
        self.body = Body(raw, sent, self._call)
        headers = [(name, value) for name, value in raw.headers.items() if name.lower() in SHOWN]
        return httpx2.Response(raw.status, headers=headers, stream=self.body)

    @override
    def close(self) -> None:
        """Leave the peer: an answer that was not heard to its end is of no use to the next call."""
        if self.body is not None:
            self.body.close()
