"""Around the product: an HTTP endpoint that answers after a while and costs almost nothing.

`python -m benchmarks.endpoint PORT SECONDS FILE` writes one line per call, its arrival and its
idempotency key, into FILE. Bare asyncio: what is measured is the caller.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Final

BODY: Final = b'{"ok": true}'
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(BODY), BODY)
)
KEY: Final = b"\r\nidempotency-key:"
WAITING_CONNECTIONS: Final = 4096


class Call(asyncio.Protocol):
    """One connection, one request (whose head comes in one piece), one answer."""

    def __init__(self, after_seconds: float, calls: int) -> None:
        self._after_seconds = after_seconds
        self._calls = calls
        self.head = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" in self.head:
            return  # the rest of a body
        self.head += data
        if b"\r\n\r\n" in self.head:
            os.write(self._calls, b"%.6f %s\n" % (time.time(), _key(self.head)))
            asyncio.get_running_loop().call_later(self._after_seconds, self._answer)

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self.answer())
            self._transport.close()

    def answer(self) -> bytes:
        """The whole answer to what stands in `head`."""
        return ANSWER


def _key(head: bytes) -> bytes:
    at = head.lower().find(KEY)
    return head[at + len(KEY) :].split(b"\r\n", 1)[0].strip() if at >= 0 else b"-"


async def serve(port: int, after_seconds: float, path: str) -> None:
    """Answer until the process ends."""
    calls = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    server = await asyncio.get_running_loop().create_server(
        lambda: Call(after_seconds, calls), "127.0.0.1", port, backlog=WAITING_CONNECTIONS
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
