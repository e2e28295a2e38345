"""A WebSocket that does not wait for ever for a client that never reads.

Uvicorn closes a connection only when everything written to it was read. A client that reads
nothing is then never closed, whatever it was told: what is sent to it waits in `send`, and so the
application never hears that it is gone. Here the connection is cut.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from asyncio.transports import BaseTransport

UNREAD_SECONDS: Final = 10.0
# What the kernel keeps for a client; it would take several MiB by itself, and more of them late.
MOST_IN_THE_KERNEL: Final = 256 * 1024  # bytes


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """What waits for one client is bounded in bytes and in time."""

    def connection_made(self, transport: BaseTransport) -> None:
        """The upgrade of a connection that uvicorn has had as HTTP."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_IN_THE_KERNEL)

    async def send(self, message: Any) -> None:
        """Raises ClientDisconnected if the client does not read what was sent before."""
        if not self.writable.is_set():
            try:
                async with asyncio.timeout(UNREAD_SECONDS):
                    await self.writable.wait()
            except TimeoutError:
                self.transport.abort()  # then it is writable, and disconnected
        await super().send(message)

    def handle_ping(self) -> None:
        """A flood of pings is not answered to whom does not read the answers."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def keepalive_timeout(self) -> None:
        """It did not answer a ping; what it has not read by now it never will."""
        super().keepalive_timeout()
        self.transport.abort()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done with it: let it read the rest, for a while."""
        super().on_task_complete(task)
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)
