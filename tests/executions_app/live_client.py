"""A client of `/ws` for tests: signed in through a real session, on the whole ASGI application."""

# asgiref's communicator has no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import redis
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from config.asgi import application
from executions_app import events
from executions_app.announcer import GROUP
from executions_app.events import NewEvent

SECONDS = 10


def sign_in(user: User) -> str:
    browser = Client()
    browser.force_login(user)
    return str(browser.cookies[settings.SESSION_COOKIE_NAME].value)


class LiveClient:
    """One connection; `hear` skips nothing."""

    def __init__(self, cookie: str = "", *, origin: str = "http://localhost") -> None:
        headers = [(b"origin", origin.encode()), (b"host", b"localhost")]
        if cookie:
            headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode()))
        scope = {"type": "websocket", "path": "/ws", "headers": headers, "query_string": b""}
        self.communicator = ApplicationCommunicator(application, scope)
        self.session_id = ""

    async def connect(self) -> bool:
        """True if the server accepted the handshake."""
        await self.communicator.send_input({"type": "websocket.connect"})
        answer = await self.communicator.receive_output(timeout=SECONDS)
        return bool(answer["type"] == "websocket.accept")

    async def disconnect(self) -> None:
        await self.communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.communicator.wait(timeout=SECONDS)

    async def say(self, message: object) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        await self.communicator.send_input({"type": "websocket.receive", "text": text})

    async def hear(self) -> dict[str, Any]:
        output = await self.communicator.receive_output(timeout=SECONDS)
        assert output["type"] == "websocket.send", output
        message: dict[str, Any] = json.loads(output["text"])
        return message

    async def close_code(self) -> int:
        while True:
            output = await self.communicator.receive_output(timeout=SECONDS)
            if output["type"] == "websocket.close":
                code: int = output["code"]
                return code

    async def subscribe(self, *, since: str | None = None, **subscriptions: Any) -> dict[str, Any]:
        message: dict[str, Any] = {"type": "subscribe", "subscriptions": subscriptions}
        await self.say(message | ({"since": since} if since else {}))
        answer = await self.hear()
        assert answer["type"] == "subscribed", answer
        return answer

    async def names(self, count: int) -> list[str]:
        """The `name` of the next `count` events."""
        return [(await self.hear())["data"]["name"] for _ in range(count)]


@asynccontextmanager
async def connected(cookie: str) -> AsyncIterator[LiveClient]:
    """A client that was greeted."""
    client = LiveClient(cookie)
    assert await client.connect()
    greeting = await client.hear()
    assert greeting["type"] == "connected"
    client.session_id = greeting["session_id"]
    try:
        yield client
    finally:
        await client.disconnect()


def record(*told: NewEvent) -> None:
    """Commit events one after the other and ring (within one transaction they have no order)."""
    for one in told:
        with transaction.atomic():
            events.emit([one])
    events.announce()


def event(name: str, **changes: Any) -> NewEvent:
    values = {"type": "execution:completed", "topic": f"execution:{name}", "data": {"name": name}}
    return NewEvent(**{**values, **changes})


async def until(look: Callable[[], Any], *, what: str) -> Any:
    """The first true answer of a blocking look."""
    ends = time.monotonic() + SECONDS
    while not (found := await sync_to_async(look)()):
        assert time.monotonic() < ends, f"still not: {what}"
        await asyncio.sleep(0.02)
    return found


def is_joined() -> bool:
    """True once a feed stands in the group that the bell rings."""
    with redis.Redis.from_url(settings.REDIS_CHANNELS_URL) as server:
        return bool(server.zcard(f"asgi:group:{GROUP}"))


def forget_members() -> None:
    """Nobody stands in the group: a feed that ended while it joined may be left there."""
    with redis.Redis.from_url(settings.REDIS_CHANNELS_URL) as server:
        server.delete(f"asgi:group:{GROUP}")
