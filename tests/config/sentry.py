"""A Sentry of the tests: it keeps what arrives at its envelope endpoint."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Sentry:
    """`dsn` is what SENTRY_DSN says; `events` what came, `raw` all of it as text."""

    dsn: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    raw: str = ""

    def take(self, envelope: str) -> None:
        _, *rest = envelope.splitlines()
        self.raw += envelope
        for kind, body in zip(rest[::2], rest[1::2], strict=False):
            if json.loads(kind)["type"] == "event":
                self.events.append(json.loads(body))


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert self.path == "/api/1/envelope/"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.sentry.take(body.decode())  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening() -> Iterator[Sentry]:
    """A Sentry for the time of the block."""
    sentry = Sentry()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.sentry = sentry  # type: ignore[attr-defined]
        sentry.dsn = f"http://publickey@127.0.0.1:{server.server_address[1]}/1"
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        try:
            yield sentry
        finally:
            server.shutdown()


@contextmanager
def deaf() -> Iterator[str]:
    """The DSN of a Sentry that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://publickey@127.0.0.1:{silent.getsockname()[1]}/1"
