"""Endpoints for tests over real HTTP: each path does what it is told, and every call is noted."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """One call as it arrived; `key` is its Idempotency-Key, `at` the monotonic instant.

    `request_id` is its X-Request-ID: the execution that it is made for.
    """

    name: str
    method: str
    query: str
    body: bytes
    key: str
    at: float
    request_id: str = ""


@dataclass(frozen=True)
class Does:
    """What an endpoint answers, after a while; `gate`: not before it is set."""

    status: int = 200
    body: Any = field(default_factory=lambda: {"ok": True})
    delay_ms: int = 0
    gate: threading.Event | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Endpoints:
    """The server, what its paths do, and the ledger of calls that came and of those answered."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.most_at_once: Counter[str] = Counter()
        self._does: dict[str, tuple[Does, ...]] = {}
        self._calls: list[Call] = []
        self._answered: list[Call] = []
        self._under_way = 0
        self._guard = threading.Lock()
        self._server = _Threads(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def on(self, name: str, *does: Does) -> None:
        """The first call of `name` does the first of these, and so on; the last holds for all."""
        self._does[name] = does

    def calls(self, name: str | None = None) -> list[Call]:
        with self._guard:
            return [one for one in self._calls if name in {None, one.name}]

    def answered(self, name: str | None = None) -> list[Call]:
        with self._guard:
            return [one for one in self._answered if name in {None, one.name}]

    def forget(self) -> None:
        """A new test begins."""
        with self._guard:
            self._calls.clear()
            self._answered.clear()
            self._does.clear()
            self.most_at_once.clear()

    def take(self, call: Call) -> Does:
        with self._guard:
            nth = sum(one.name == call.name for one in self._calls)
            self._calls.append(call)
            self._under_way += 1
            self.most_at_once["all"] = max(self.most_at_once["all"], self._under_way)
            does = self._does.get(call.name, (Does(),))
        return does[min(nth, len(does) - 1)]

    def leave(self) -> None:
        """Whoever reads the answer may call again before this thread has gone on."""
        with self._guard:
            self._under_way -= 1

    def end(self, call: Call) -> None:
        with self._guard:
            self._answered.append(call)

    def start(self) -> Endpoints:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextmanager
def endpoint_server() -> Iterator[Endpoints]:
    """A server for the block."""
    server = Endpoints().start()
    try:
        yield server
    finally:
        server.stop()


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    owner: Endpoints

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Workers that are killed in the middle of a call are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Threads

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = Call(
            name=path.strip("/"),
            method=self.command,
            query=query,
            body=body,
            key=self.headers.get("Idempotency-Key", ""),
            at=time.monotonic(),
            request_id=self.headers.get("X-Request-ID", ""),
        )
        owner = self.server.owner
        does = owner.take(call)
        owner.over.wait(does.delay_ms / 1000)
        while does.gate is not None and not (does.gate.wait(0.05) or owner.over.is_set()):
            continue
        owner.leave()
        try:
            text = json.dumps(does.body).encode()
            self.send_response(does.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            for name, value in does.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)
        finally:
            owner.end(call)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing of it is for the terminal."""
