"""A Conductor for tests: its three calls over real HTTP, and what it does is scripted.

In a test: `with conductor_server() as server: server.fail(3)`. By hand:
`python -m tests.fakes.conductor_server --port 3001`. A message whose Idempotency-Key it has seen is
answered with the thread as it stands, and starts nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONGEST_HANG_SECONDS = 30.0
_PATH = re.compile(r"/api/threads/([^/]+)(/messages|/cancel)?")


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Thread:
    """What is known of a thread; `looks_left`: after so many looks it is done."""

    id: str
    status: str = "running"
    output: Any = None
    error: Any = None
    looks_left: int = 0
    keys: set[str] = field(default_factory=set)

    def shown(self) -> dict[str, Any]:
        return {
            "threadId": self.id,
            "messageId": f"message-{len(self.keys)}",
            "status": self.status,
            "output": self.output,
            "error": self.error,
            "somethingNew": True,
        }


class ConductorServer:
    """Scripted by its fields; used by many threads."""

    def __init__(self, *, port: int = 0) -> None:
        self.looks = 0  # so often GET says `running` before a task is done
        self.output: Any = {"said": "done"}
        self.error: Any = None  # when set, tasks fail with it
        self.body: bytes | None = None  # when set, the answer to everything
        self.hangs = False
        self.cancelled = threading.Event()
        self.asked: list[Seen] = []
        self.threads: dict[str, Thread] = {}
        self.over = threading.Event()
        self._failures: list[tuple[int, dict[str, str], Any]] = []
        self._guard = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._server.daemon_threads = True
        self._server.conductor = self  # type: ignore[attr-defined]  # how its handlers find it
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(
        self,
        times: int,
        status: int = 503,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """The next requests are answered with `status`; 0: the connection is closed instead."""
        self._failures += [(status, headers or {}, body)] * times

    def messages(self) -> list[Seen]:
        return [one for one in self.asked if one.path.endswith("/messages")]

    def cancellations(self) -> list[Seen]:
        return [one for one in self.asked if one.path.endswith("/cancel")]

    def answer(self, seen: Seen) -> tuple[int, dict[str, str], Any]:
        with self._guard:
            self.asked.append(seen)
            if self._failures:
                return self._failures.pop(0)
            match = _PATH.fullmatch(seen.path)
            if match is None:
                return 404, {}, {"error": {"code": "not_found", "message": "no such path"}}
            return self._act(seen, match[1], match[2] or "")

    def _act(self, seen: Seen, thread_id: str, verb: str) -> tuple[int, dict[str, str], Any]:
        if verb == "/messages":
            return self._begin(seen, thread_id)
        thread = self.threads.get(thread_id)
        if thread is None:
            return 404, {}, {"error": {"code": "unknown_thread", "message": "no such thread"}}
        if verb == "/cancel":
            if thread.status != "running":
                return 409, {}, {"error": "the thread is over", "message": ""}
            thread.status = "cancelled"
            self.cancelled.set()
        elif thread.status == "running":
            self._look(thread)
        return 200, {}, thread.shown()

    def _begin(self, seen: Seen, thread_id: str) -> tuple[int, dict[str, str], Any]:
        thread = self.threads.setdefault(thread_id, Thread(thread_id))
        key = seen.headers.get("idempotency-key", "")
        if key not in thread.keys:
            thread.keys.add(key)
            thread.status, thread.looks_left = "running", self.looks
            if self.looks == 0:
                self._end(thread)
        return (200 if thread.status != "running" else 202), {}, thread.shown()

    def _look(self, thread: Thread) -> None:
        thread.looks_left -= 1
        if thread.looks_left <= 0:
            self._end(thread)

    def _end(self, thread: Thread) -> None:
        thread.status = "completed" if self.error is None else "failed"
        thread.output, thread.error = self.output, self.error

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        server: ConductorServer = self.server.conductor  # type: ignore[attr-defined]
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, json.loads(raw) if raw else None)
        status, extra, body = server.answer(seen)
        status = status if server.body is None else 200
        if server.hangs:
            server.over.wait(LONGEST_HANG_SECONDS)
        if status == 0 or server.over.is_set():
            self.close_connection = True
            return
        content = server.body if server.body is not None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **extra}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815  the names that http.server calls


@contextmanager
def conductor_server(*, port: int = 0) -> Iterator[ConductorServer]:
    """Serve until the block ends."""
    server = ConductorServer(port=port)
    try:
        yield server
    finally:
        server.close()


def main() -> None:
    """Serve by hand until interrupted."""
    parser = argparse.ArgumentParser(description="a Conductor that does nothing, soon")
    parser.add_argument("--port", type=int, default=3001)
    with conductor_server(port=parser.parse_args().port) as server:
        server.over.wait()


if __name__ == "__main__":
    main()
