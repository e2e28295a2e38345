"""Clients of `/ws` over real sockets: some that keep up with what they are told, others that don't.

A `Listener` believes what it hears, comes back with its cursor whenever its connection is lost,
and can be asked what it would show of an execution. A deaf client never reads a byte.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from channels_redis.core import RedisChannelLayer
from django.conf import settings
from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.protocol import State
from websockets.uri import parse_uri

from config.connections import redis_database
from executions_app.announcer import GROUP

PING_SECONDS: Final = 10.0
COME_BACK_SECONDS: Final = 0.2
SMALLEST_WINDOW: Final = 4_096  # bytes; the kernel keeps this much, and its double, for the client
EVERYTHING: Final[dict[str, Any]] = {"type": "subscribe", "subscriptions": {}}


def ring(redis_url: str) -> None:
    """Ring the bell of a system; `events.announce` rings that of this process, in another Redis."""

    async def once() -> None:
        layer = RedisChannelLayer(hosts=[redis_database(redis_url, 2)])
        await layer.group_send(GROUP, {"type": "feed.rang"})
        await layer.close_pools()

    asyncio.run(once())


def address(url: str) -> str:
    """Where the feed of a web process is."""
    return f"ws://{urlsplit(url).netloc}/ws"


def headers(url: str, session: str = "", *, origin: str = "") -> dict[str, str]:
    """What a page of this web process, or of another origin, says when it connects."""
    cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={session}"} if session else {}
    return {"Origin": origin or url, **cookie}


@dataclass(eq=False)
class Listener:
    """One healthy client; `states` is what it would show: {execution: status}."""

    url: str
    session: str
    states: dict[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    late: list[tuple[float, float]] = field(default_factory=list)  # (committed, seconds later)
    greetings: int = 0
    resets: int = 0
    since: str | None = None

    async def run(self) -> None:
        """Listen until cancelled, over as many connections as it takes."""
        while True:
            try:
                await self._listen()
            except (WebSocketException, OSError):
                await asyncio.sleep(COME_BACK_SECONDS)

    async def _listen(self) -> None:
        said = headers(self.url, self.session)
        async with connect(address(self.url), additional_headers=said) as feed:
            pinging = asyncio.create_task(_ping(feed))
            try:
                since = {"since": self.since} if self.since else {}
                await feed.send(json.dumps(EVERYTHING | since))
                async for text in feed:
                    self._hear(json.loads(text))
            finally:
                pinging.cancel()

    def _hear(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "connected":
                self.greetings += 1
            case "subscribed":
                self.resets += message["resume"] == "reset"
                self.since = self.since or message["cursor"]
            case type_ if "topic" in message:
                self._believe(type_, message)

    def _believe(self, type_: str, message: dict[str, Any]) -> None:
        now = time.time()
        committed = datetime.fromisoformat(message["ts"]).timestamp()
        self.late.append((committed, now - committed))
        self.since = message["id"]
        self.heard.append(message["id"])
        kind, _, subject = message["topic"].partition(":")
        if kind == "execution" and type_.startswith("execution:") and "status" in message["data"]:
            self.states[subject] = message["data"]["status"]

    def lag(self, *, before: float) -> float:
        """The longest that anything committed before this instant took to reach it, in seconds."""
        return max((took for committed, took in self.late if committed < before), default=0.0)


async def _ping(feed: Any) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        await feed.send('{"type": "ping"}')


@contextmanager
def listening(url: str, session: str, *, many: int) -> Iterator[list[Listener]]:
    """So many healthy clients, in a thread of their own."""
    listeners = [Listener(url, session) for _ in range(many)]
    loop = asyncio.new_event_loop()

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:  # unlike `gather`, it waits until all are closed
            for one in listeners:
                group.create_task(one.run())

    def live() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        for left in (still := asyncio.all_tasks(loop)):  # those that answer pings
            left.cancel()
        if still:
            loop.run_until_complete(asyncio.wait(still))
        loop.close()

    task = loop.create_task(all_of_them())
    thread = threading.Thread(target=live, name="listeners")
    thread.start()
    try:
        yield listeners
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


def deaf(url: str, session: str, *, since: str | None = None) -> socket.socket:
    """A connection that asks for everything and never reads any of it; to be closed."""
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALLEST_WINDOW)
    connection.settimeout(10)
    connection.connect((parts.hostname, parts.port))
    client = ClientProtocol(parse_uri(address(url)))
    request = client.connect()
    request.headers.update(headers(url, session))
    client.send_request(request)
    _write(connection, client)
    while client.state is State.CONNECTING:
        client.receive_data(connection.recv(SMALLEST_WINDOW))
    if client.handshake_exc is not None:
        raise client.handshake_exc
    client.send_text(json.dumps(EVERYTHING | ({"since": since} if since else {})).encode())
    _write(connection, client)
    return connection


def _write(connection: socket.socket, client: ClientProtocol) -> None:
    connection.sendall(b"".join(client.data_to_send()))
