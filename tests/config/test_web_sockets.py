"""A real server on loopback, and a client that connects and never reads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from config import web, web_sockets
from tests.executions_app.live_client import until

Application = Callable[[Any, Any, Any], Awaitable[None]]
PIECE = "x" * 10_000
PIECES = 1_000  # far more than the kernel keeps


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_sockets, "UNREAD_SECONDS", 0.3)


@asynccontextmanager
async def served(application: Application, **words: Any) -> AsyncIterator[int]:
    """The port on which uvicorn serves an application as the web process does."""
    door = socket.create_server(("127.0.0.1", 0))
    options = dict(zip(*[iter(web.SAID)] * 2, strict=True))
    config = uvicorn.Config(
        application, ws=options["--ws"], lifespan="off", log_config=None, **words
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[door]))
    try:
        yield door.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        await serving
        door.close()


@asynccontextmanager
async def deaf(port: int) -> AsyncIterator[ClientConnection]:
    """A client that takes the handshake and nothing after it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect(("127.0.0.1", port))
    url = f"ws://127.0.0.1:{port}/ws"
    client = await connect(url, sock=connection, max_queue=1, ping_interval=None, compression=None)
    client.transport.pause_reading()
    try:
        yield client
    finally:
        client.transport.abort()


async def hears_that_it_is_gone(receive: Callable[[], Awaitable[Any]]) -> bool:
    while True:
        if (await receive())["type"] == "websocket.disconnect":
            return True


def test_who_does_not_read_is_cut_off_and_the_application_hears_of_it() -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()

    async def talks_without_end(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        try:
            for _ in range(PIECES):
                await send({"type": "websocket.send", "text": PIECE})
        except OSError as error:
            heard.put_nowait(error)
        heard.put_nowait(await hears_that_it_is_gone(receive))

    async def scenario() -> None:
        async with served(talks_without_end) as port, deaf(port), asyncio.timeout(20):
            assert isinstance(await heard.get(), OSError)
            assert await heard.get() is True

    asyncio.run(scenario())


def test_who_answers_no_ping_is_cut_off_though_much_is_left_to_be_read() -> None:
    heard: asyncio.Queue[bool] = asyncio.Queue()

    async def talks_and_listens(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        with contextlib.suppress(TimeoutError):  # until the client has taken what it ever will
            async with asyncio.timeout(0.1):
                for _ in range(PIECES):
                    await send({"type": "websocket.send", "text": PIECE})
        heard.put_nowait(await hears_that_it_is_gone(receive))

    async def scenario() -> None:
        words = {"ws_ping_interval": 0.2, "ws_ping_timeout": 0.2}
        async with served(talks_and_listens, **words) as port, deaf(port), asyncio.timeout(20):
            assert await heard.get()

    asyncio.run(scenario())


def test_who_is_left_does_not_stay_though_much_is_left_to_be_read() -> None:
    is_left = asyncio.Event()

    async def leaves(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                for _ in range(PIECES):
                    await send({"type": "websocket.send", "text": PIECE})
        is_left.set()

    async def scenario() -> None:
        async with served(leaves) as port, deaf(port), asyncio.timeout(20):
            await is_left.wait()
            assert held(port) == 1
            await until(lambda: not held(port), what="the connection is gone")

    asyncio.run(scenario())


def held(port: int) -> int:
    """How many connections the server holds."""
    all_of_them = psutil.Process().net_connections("tcp")
    its_own = [one for one in all_of_them if one.laddr.port == port]
    return sum(one.status != psutil.CONN_LISTEN for one in its_own)
