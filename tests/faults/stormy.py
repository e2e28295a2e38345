"""Endpoints that fail in every way, and keep a ledger of what they were asked: the other side.

What an endpoint does to a call is drawn from a hash of (seed, path, attempt), so it is the same
again for the same attempt, and in the next run with this seed. Each call is written down before it
is answered. Imports nothing of the product but the ledger of its demo, which imports nothing of it
either.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from config.demo import ledger

FAILURE_RATE: Final = 0.7
RESET: Final = -1
HANG: Final = -2
FAILURES: Final = (500, 502, 429, RESET, HANG)
RETRY_AFTER_SECONDS: Final = 1
LONGEST_HANG_SECONDS: Final = 60.0
CLOSE_WITH_RESET: Final = struct.pack("ii", 1, 0)


class Stormy:
    """The server; `/steady` always succeeds, `/slow` after 0.5 s, `/storm/N` in 3 calls of 10."""

    def __init__(self, path: Path, *, seed: int) -> None:
        self.ledger = ledger.Ledger(path)
        self.seed = seed
        self.over = threading.Event()
        owner = self

        class Answering(_Answering):
            stormy = owner

        self._server = _Server(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        self.ledger.close()

    def calls(self) -> Mapping[str, list[ledger.Call]]:
        """All calls so far by their Idempotency-Key, which is the id of the execution."""
        found: defaultdict[str, list[ledger.Call]] = defaultdict(list)
        for one in ledger.read(self.ledger.path):
            found[one.idempotency_key or ""].append(one)
        return found

    def failures(self) -> Counter[str]:
        """How often each kind of failure was handed out."""
        told = {429: "429", 500: "500", 502: "502", RESET: "reset", HANG: "hung"}
        answers = Counter(one.status for one in ledger.read(self.ledger.path))
        return Counter({name: answers[status] for status, name in told.items() if answers[status]})

    def answer(self, path: str, attempt: str) -> int:
        """The status that this attempt gets, or what is done to its connection."""
        if not path.startswith("/storm"):
            return 200
        digest = hashlib.sha256(f"{self.seed}:{path}:{attempt}".encode()).digest()
        drawn = int.from_bytes(digest[:6], "big") / 2**48
        if drawn >= FAILURE_RATE:
            return 200
        return FAILURES[int(drawn / FAILURE_RATE * len(FAILURES))]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that hang up are what happens here."""


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stormy: Stormy

    def do_GET(self) -> None:
        path, _, _ = self.path.partition("?")
        key = self.headers.get("Idempotency-Key", "")
        attempt = self.headers.get("X-Cadenza-Attempt", "")
        book = self.stormy.ledger
        call = book.arrived(
            endpoint=path, method="GET", idempotency_key=key, attempt=int(attempt or 0)
        )
        if path == "/slow":
            self.stormy.over.wait(0.5)
        status = self.stormy.answer(path, attempt)
        if status == HANG:
            self._wait_until_left()
        book.answered(call, status)
        if status > 0:
            self._reply(status)
        else:
            self._reset()

    def _reply(self, status: int) -> None:
        body = b'{"from": "the storm"}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", str(RETRY_AFTER_SECONDS))
        self.end_headers()
        self.wfile.write(body)

    def _wait_until_left(self) -> None:
        """Say nothing until the caller has gone."""
        ends = time.monotonic() + LONGEST_HANG_SECONDS
        self.connection.settimeout(0.2)
        while not self.stormy.over.is_set() and time.monotonic() < ends:
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(1):
                    return

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE_WITH_RESET)
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name it is given
        """Say nothing: the ledger says it all."""


@contextmanager
def stormy(folder: Path, *, seed: int) -> Iterator[Stormy]:
    """Serve on a free port of the loopback interface."""
    server = Stormy(folder / "calls.jsonl", seed=seed)
    server.start()
    try:
        yield server
    finally:
        server.close()
