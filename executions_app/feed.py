"""The live feed of one web process: one reading of the events table for all of its clients.

A bell (`announcer`) says that something was committed; the reader then takes what stands behind
its cursor and hands each client what it wants and may see. It also looks by itself now and then,
so a lost ring or an absent Redis only slows it. Replay reads the same rows in the same order,
which is why nothing is skipped between the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import DatabaseError, InterfaceError, connection
from redis.exceptions import RedisError

from executions_app import events
from executions_app.announcer import GROUP
from executions_app.events import Cursor, Recorded
from executions_app.mailbox import Letter, Mailbox
from executions_app.subscriptions import Subscription, Viewer

PAGE: Final = 500
REPLAY_PAGE: Final = 100  # of each client that is told what it missed, and may read slowly
MOST_REPLAYED: Final = 5_000
# After a ring a transaction that is still open may hide its rows: look again soon, then idle.
LOOKS_SECONDS: Final = (0.05, 0.2, 2.0)
REJOIN_SECONDS: Final = 30.0  # a Redis that was emptied has forgotten the group
AFTER_TROUBLE_SECONDS: Final = 1.0
LEAVE_SECONDS: Final = 5.0
CANCEL_AGAIN_SECONDS: Final = 0.1
MOST_XID: Final = 2**63 - 1

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Client:
    """One connection's place in the feed; without a subscription it hears notices only."""

    viewer: Viewer
    session_id: UUID | None = None
    mailbox: Mailbox = field(default_factory=Mailbox)
    subscription: Subscription | None = None
    position: Cursor | None = None

    def admits(self, event: Recorded) -> bool:
        """True if the client asked for such events and may see this one."""
        wanted = self.subscription is not None and self.subscription.wants(event)
        return wanted and self.viewer.may_see(event)

    def offer(self, event: Recorded, letter: Letter) -> None:
        """Put an event into the mailbox unless a replay has shown it already."""
        if self.position is not None and event.cursor <= self.position:
            return
        if self.admits(event):
            self.mailbox.put(letter)


@dataclass(frozen=True, slots=True)
class Resumption:
    """How a subscription takes up: `none` from now, `replayed` from `since`, `reset` read anew."""

    kind: Literal["none", "replayed", "reset"]
    since: Cursor


def write(event: Recorded) -> Letter:
    """The letter that tells of an event."""
    text = json.dumps(event.message(), default=str, separators=(",", ":"))
    return Letter(text, event.type, event.topic)


class Feed:
    """Reads while it has clients; belongs to one event loop.

    The clients share one channel of the channel layer, named here: a consumer that listened to
    Redis itself would be torn down whenever Redis does not answer.
    """

    def __init__(self) -> None:
        self.channel = ""
        self._clients: set[Client] = set()
        self._cursor: Cursor | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._rang = asyncio.Event()
        self._attaching = asyncio.Lock()

    @property
    def cursor(self) -> Cursor:
        """Everything up to here was handed to the clients of this process."""
        assert self._cursor is not None, "nobody is attached"
        return self._cursor

    async def attach(self, client: Client) -> None:
        """Take a client in; from its subscription on it misses nothing that commits."""
        async with self._attaching:
            if self._cursor is None:
                self._cursor = await database_sync_to_async(events.end)()
                self.channel = await get_channel_layer().new_channel()
            self._clients.add(client)
            if not self._tasks:
                parts = (self._read(), self._listen(), self._stay_in_the_group())
                self._tasks = {asyncio.create_task(part) for part in parts}

    async def detach(self, client: Client) -> None:
        """Let a client go; the last one ends the reading."""
        self._clients.discard(client)
        if not self._clients and self._tasks:
            tasks, self._tasks, self._cursor = self._tasks, set(), None
            with contextlib.suppress(RedisError, OSError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await _cancel(tasks)
                    await get_channel_layer().group_discard(GROUP, self.channel)

    async def resume(self, since: str | None) -> Resumption:
        """What a client that saw everything up to `since` is to be told."""
        if since is None:
            return Resumption("none", self.cursor)
        try:
            cursor = Cursor.parse(since)
        except ValueError:
            return Resumption("reset", self.cursor)
        if not 0 <= cursor.xid <= MOST_XID:
            return Resumption("reset", self.cursor)
        if await database_sync_to_async(_is_replayable)(cursor):
            return Resumption("replayed", cursor)
        return Resumption("reset", self.cursor)

    async def replay(
        self, client: Client, subscription: Subscription, since: Cursor
    ) -> AsyncIterator[str]:
        """Texts of what the client missed since then; when it ends, live events follow on."""
        client.subscription, position = None, since
        while position < self.cursor:
            target = self.cursor
            page = await database_sync_to_async(events.after)(position, limit=REPLAY_PAGE)
            for event in page:
                if client.viewer.may_see(event) and subscription.wants(event):
                    yield write(event).text
            position = page[-1].cursor if page else position
            if len(page) < REPLAY_PAGE:
                position = max(position, target)
        # No await from the last comparison to here: the reader cannot slip in between.
        client.position, client.subscription = position, subscription

    async def _read(self) -> None:
        looks = 0
        while True:
            try:
                await self._hand_out()
                pause = LOOKS_SECONDS[min(looks, len(LOOKS_SECONDS) - 1)]
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The live feed could not be read just now: %s", error)
                pause = AFTER_TROUBLE_SECONDS
            looks = 0 if await self._rings_within(pause) else looks + 1

    async def _hand_out(self) -> None:
        while page := await database_sync_to_async(events.after)(self.cursor, limit=PAGE):
            for event in page:
                letter = write(event)
                for client in self._clients:
                    client.offer(event, letter)
            self._cursor = page[-1].cursor

    async def _rings_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._rang.wait()
        except TimeoutError:
            return False
        self._rang.clear()
        return True

    async def _listen(self) -> None:
        while True:
            try:
                self._hear(await get_channel_layer().receive(self.channel))
            except Exception as error:  # noqa: BLE001  whatever Redis does, the reader goes on
                logger.info("The live feed cannot hear its bell just now: %s", error)
                await asyncio.sleep(AFTER_TROUBLE_SECONDS)

    async def _stay_in_the_group(self) -> None:
        while True:
            try:
                await get_channel_layer().group_add(GROUP, self.channel)
                await asyncio.sleep(REJOIN_SECONDS)
            except (RedisError, OSError) as error:
                logger.info("The live feed could not join its group just now: %s", error)
                await asyncio.sleep(AFTER_TROUBLE_SECONDS)

    def _hear(self, message: dict[str, Any]) -> None:
        meant = message.get("session_id")
        addressed = [one for one in self._clients if meant in {None, str(one.session_id)}]
        match message["type"]:
            case "feed.notice":
                for client in addressed:
                    client.mailbox.put(Letter(message["text"]))
            case "feed.hang_up":
                for client in addressed:
                    client.mailbox.end(message["code"])
            case _:
                self._rang.set()


_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, Feed] = WeakKeyDictionary()


def of_this_loop() -> Feed:
    """The feed of the running event loop (a web process has one)."""
    return _feeds.setdefault(asyncio.get_running_loop(), Feed())


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    """End tasks; the Redis client can swallow a cancellation, so it is repeated until heard."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_SECONDS)


def _is_replayable(cursor: Cursor) -> bool:
    """False if events behind `cursor` may be gone, too many, or of another database's future."""
    with connection.cursor() as reading:
        reading.execute(
            """
            SELECT %(xid)s < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                AND coalesce((SELECT (xid, id) <= (%(xid)s, %(id)s) FROM events
                              ORDER BY xid, id LIMIT 1), false)
                AND (SELECT count(*) FROM (
                    SELECT 1 FROM events WHERE (xid, id) > (%(xid)s, %(id)s) LIMIT %(most)s + 1
                ) AS behind) <= %(most)s
            """,
            {"xid": cursor.xid, "id": cursor.id, "most": MOST_REPLAYED},
        )
        answer: bool = reading.fetchone()[0]
    return answer
