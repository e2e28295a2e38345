"""The live feed out: one connection to `/ws`, what it may ask and what it is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final, Literal

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from executions_app import feed, sessions
from executions_app.mailbox import TRY_LATER, Ended
from executions_app.subscriptions import Subscription, Viewer

MOST_BYTES: Final = 64 * 1024
MOST_MESSAGES_PER_SECOND: Final = 20
PING_WRITE_SECONDS: Final = 10.0
WATCH_SECONDS: Final = 5.0
USER_CHECK_SECONDS: Final = 60.0

CUT_OFF: Final = 1006
TOO_BIG: Final = 1009
NOT_SIGNED_IN: Final = 4401
TOO_FAST: Final = 4429


class Subscribe(BaseModel):
    """`since` is the `id` of the last event seen, or the `cursor` of an earlier answer."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["subscribe"]
    subscriptions: Subscription = Subscription()
    since: str | None = Field(None, max_length=100)


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """Speaks JSON; a message it does not understand is answered and the connection lives."""

    channel_layer_alias = ""  # the feed listens for all consumers of the process

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.client: feed.Client | None = None
        self._session_id: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._received: deque[float] = deque(maxlen=MOST_MESSAGES_PER_SECOND)
        self._pinged_at = self._checked_at = time.monotonic()
        self._ping_written_at = float("-inf")

    async def connect(self) -> None:
        """Take in whoever is signed in; a 4xxx code reaches the client only once accepted."""
        await self.accept()
        user = self.scope["user"]
        if not user.is_authenticated or not user.is_active:
            await self.close(NOT_SIGNED_IN)
            return
        try:
            await self._open(user)
        except sessions.TooManySessions:
            await self.close(TOO_FAST)
        except (DatabaseError, InterfaceError):
            await self.close(TRY_LATER)

    async def _open(self, user: Any) -> None:
        reading = feed.of_this_loop()
        client = feed.Client(_viewer(user))
        await reading.attach(client)
        self.client = client
        host, port = self.scope.get("client") or ("", "")
        session = await database_sync_to_async(sessions.create)(
            user_id=user.pk, channel=reading.channel, client=f"{host}:{port}"
        )
        self._session_id = client.session_id = session.id
        await self._say("connected", session_id=str(session.id))
        self._tasks = [
            asyncio.create_task(_until_it_is_gone(self._send_on(client)), name="ws.send"),
            asyncio.create_task(_until_it_is_gone(self._watch()), name="ws.watch"),
        ]

    async def disconnect(self, code: int) -> None:
        """Leave the feed and close the session's row, whatever ended the connection."""
        for task in self._tasks:
            task.cancel()
        if self.client is not None:
            await feed.of_this_loop().detach(self.client)
        if self._session_id is not None:
            await database_sync_to_async(sessions.close)(self._session_id, code=code)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Whoever is cut off while it is answered hears no disconnect: it leaves from here."""
        try:
            await super().dispatch(message)
        except OSError:
            await self.disconnect(CUT_OFF)
            raise

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message of the client."""
        if self.client is None:
            return
        if len((text_data or "").encode()) > MOST_BYTES or len(bytes_data or b"") > MOST_BYTES:
            await self.close(TOO_BIG)
            return
        if self._is_too_fast(time.monotonic()):
            await self.close(TOO_FAST)
            return
        try:
            message = json.loads(text_data or "")
        except ValueError:
            await self._complain("malformed", "A message is one JSON object as text")
            return
        try:
            await self._answer(message if isinstance(message, dict) else {})
        except (DatabaseError, InterfaceError):
            await self._complain("unavailable", "The database does not answer; try again")

    def _is_too_fast(self, now: float) -> bool:
        is_full = len(self._received) == MOST_MESSAGES_PER_SECOND
        too_fast = is_full and now - self._received[0] < 1
        self._received.append(now)
        return too_fast

    async def _answer(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "ping":
                await self._pong()
            case "subscribe":
                await self._subscribe(message)
            case unknown:
                known = "ping and subscribe are known"
                await self._complain("unknown_type", f"{str(unknown)[:100]!r} is no type; {known}")

    async def _pong(self) -> None:
        now = self._pinged_at = time.monotonic()
        await self._say("pong")
        if now - self._ping_written_at >= PING_WRITE_SECONDS:
            self._ping_written_at = now
            await database_sync_to_async(sessions.ping)(self._session_id)

    async def _subscribe(self, message: dict[str, Any]) -> None:
        try:
            wish = Subscribe.model_validate(message)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            await self._complain("invalid_subscription", f"{where}: {problem['msg']}")
            return
        if self.client is None or not await self._is_still_welcome():
            return
        reading, client = feed.of_this_loop(), self.client
        stored = wish.subscriptions.model_dump(mode="json")
        await database_sync_to_async(sessions.subscribe)(self._session_id, stored)
        taken_up = await reading.resume(wish.since)
        await self._say("subscribed", resume=taken_up.kind, cursor=str(taken_up.since))
        async for text in reading.replay(client, wish.subscriptions, taken_up.since):
            await self.send(text_data=text)

    async def _send_on(self, client: feed.Client) -> None:
        try:
            while True:
                await self.send(text_data=await client.mailbox.take())
        except Ended as ended:
            await self.close(ended.code)

    async def _watch(self) -> None:
        """Close what is silent or no longer welcome."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            if now - self._pinged_at > sessions.SILENCE.total_seconds():
                await self.close(sessions.CLOSED_FOR_SILENCE)
                return
            if now - self._checked_at > USER_CHECK_SECONDS and not await self._is_still_welcome():
                return

    async def _is_still_welcome(self) -> bool:
        """Look at the session and the user anew; closes the connection of who signed out."""
        store = import_module(settings.SESSION_ENGINE).SessionStore
        try:
            user = await get_user({"session": store(self.scope["session"].session_key)})
        except (DatabaseError, InterfaceError):
            return True
        self._checked_at = time.monotonic()
        if user.is_authenticated and self.client is not None:
            self.client.viewer = _viewer(user)
            return True
        await self.close(NOT_SIGNED_IN)
        return False

    async def _complain(self, code: str, detail: str) -> None:
        await self._say("error", code=code, detail=detail)

    async def _say(self, type_: str, **data: Any) -> None:
        timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        await self.send(text_data=json.dumps({"type": type_, **data, "timestamp": timestamp}))


async def _until_it_is_gone(part: Coroutine[Any, Any, None]) -> None:
    """Nothing can be told any more to a client that is gone; `disconnect` hears of it."""
    with suppress(OSError):
        await part


def _viewer(user: Any) -> Viewer:
    return Viewer(user_id=user.pk, sees_all=user.is_superuser)
