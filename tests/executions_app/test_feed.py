from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import channel_layers
from channels_redis.core import RedisChannelLayer
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction

from executions_app import events, feed
from tests.executions_app.live_client import (
    connected,
    event,
    forget_members,
    is_joined,
    record,
    sign_in,
    until,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nobody_is_left_in_the_group() -> None:
    forget_members()


@pytest.fixture
def root() -> str:
    """The session of somebody who sees everything."""
    return sign_in(User.objects.create_superuser("root"))


def in_a_transaction(name: str, may_commit: threading.Event, has_written: threading.Event) -> None:
    try:
        with transaction.atomic():
            events.emit([event(name)])
            has_written.set()
            assert may_commit.wait(10)
        events.announce()
    finally:
        connection.close()


def test_an_event_reaches_a_subscriber_after_its_commit(root: str) -> None:
    @async_to_sync
    async def scenario() -> None:
        async with connected(root) as client:
            await client.subscribe()

            await sync_to_async(record)(event("one"), event("two"))

            assert await client.names(2) == ["one", "two"]

    scenario()


def test_without_a_bell_the_reader_looks_by_itself(root: str) -> None:
    def commit_silently() -> None:
        with transaction.atomic():
            events.emit([event("quiet")])

    @async_to_sync
    async def scenario() -> None:
        async with connected(root) as client:
            await client.subscribe()

            await sync_to_async(commit_silently)()

            assert await client.names(1) == ["quiet"]

    scenario()


def test_an_event_of_a_slow_transaction_is_not_overtaken(root: str) -> None:
    may_commit, has_written = threading.Event(), threading.Event()

    @async_to_sync
    async def scenario() -> None:
        with ThreadPoolExecutor(1) as pool:
            async with connected(root) as client:
                await client.subscribe()
                slow = pool.submit(in_a_transaction, "early", may_commit, has_written)
                await sync_to_async(has_written.wait)(10)

                await sync_to_async(record)(event("late"))
                may_commit.set()

                assert await client.names(2) == ["early", "late"]
                slow.result()

    scenario()


def test_who_comes_back_with_its_cursor_gets_what_it_missed_and_then_what_follows(
    root: str,
) -> None:
    @async_to_sync
    async def scenario() -> None:
        async with connected(root) as client:
            await client.subscribe()
            await sync_to_async(record)(event("seen"))
            last_seen = (await client.hear())["id"]
        await sync_to_async(record)(event("missed"), event("missed too"))

        async with connected(root) as client:
            answer = await client.subscribe(since=last_seen)
            await sync_to_async(record)(event("live"))

            assert answer["resume"] == "replayed"
            assert await client.names(3) == ["missed", "missed too", "live"]

    scenario()


def test_replay_and_live_meet_without_a_gap_or_a_repetition(root: str) -> None:
    count = feed.PAGE + 50

    def write_the_rest() -> None:
        try:
            for number in range(count, count + 40):
                record(event(str(number)))
        finally:
            connection.close()

    @async_to_sync
    async def scenario() -> list[str]:
        async with connected(root) as client:
            await client.subscribe()
            await sync_to_async(record)(event("seen"))
            last_seen = (await client.hear())["id"]
            await sync_to_async(record)(*(event(str(number)) for number in range(count)))
        with ThreadPoolExecutor(1) as pool:
            async with connected(root) as client:
                writing = pool.submit(write_the_rest)
                await client.subscribe(since=last_seen)
                names = await client.names(count + 40)
                writing.result()
                return names

    heard = scenario()

    assert heard == [str(number) for number in range(count + 40)]


@pytest.mark.parametrize(
    "since", ["nonsense", "ffffffffffffffffffff-" + "f" * 32, "7fffffffffffffff-" + "f" * 32]
)
def test_a_cursor_that_leads_nowhere_is_answered_with_reset(root: str, since: str) -> None:
    @async_to_sync
    async def scenario() -> None:
        await sync_to_async(record)(event("old"))
        async with connected(root) as client:
            answer = await client.subscribe(since=since)
            await sync_to_async(record)(event("new"))

            assert answer["resume"] == "reset"
            assert await client.names(1) == ["new"]

    scenario()


def test_a_cursor_older_than_the_oldest_event_is_answered_with_reset(root: str) -> None:
    @async_to_sync
    async def scenario() -> None:
        forgotten = str(await sync_to_async(events.end)())
        await sync_to_async(record)(event("kept"))
        async with connected(root) as client:
            answer = await client.subscribe(since=forgotten)

            assert answer["resume"] == "reset"

    scenario()


def test_too_many_missed_events_are_answered_with_reset(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_REPLAYED", 3)

    @async_to_sync
    async def scenario() -> None:
        async with connected(root) as client:
            await client.subscribe()
            await sync_to_async(record)(event("seen"))
            last_seen = (await client.hear())["id"]
        await sync_to_async(record)(*(event(str(number)) for number in range(4)))

        async with connected(root) as client:
            assert (await client.subscribe(since=last_seen))["resume"] == "reset"

    scenario()


def test_a_redis_that_forgot_the_group_is_joined_again(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "REJOIN_SECONDS", 0.05)

    @async_to_sync
    async def scenario() -> None:
        async with connected(root):
            await until(is_joined, what="the feed joined")

            with redis.Redis.from_url(settings.REDIS_CHANNELS_URL) as server:
                server.flushdb()

            await until(is_joined, what="the feed joined again")

    scenario()


def test_without_redis_the_connection_lives_and_events_arrive(root: str) -> None:
    nowhere = RedisChannelLayer(hosts=["redis://127.0.0.1:1/0"])

    @async_to_sync
    async def scenario() -> None:
        before = channel_layers.set("default", nowhere)
        try:
            async with connected(root) as client:
                await client.subscribe()
                await sync_to_async(record)(event("slow but sure"))

                assert await client.names(1) == ["slow but sure"]
        finally:
            channel_layers.set("default", before)

    scenario()


def test_the_last_client_to_leave_ends_the_reading(root: str) -> None:
    @async_to_sync
    async def scenario() -> None:
        async with connected(root):
            reading = feed.of_this_loop()
            assert reading.cursor.xid > 0
        with pytest.raises(AssertionError, match="nobody is attached"):
            _ = reading.cursor

    scenario()
