from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from config.asgi import application
from executions_app import clock, consumers, feed, sessions, tasks
from executions_app.models import WebSocketSession
from tests.executions_app.live_client import (
    LiveClient,
    connected,
    sign_in,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


async def row_of(client: LiveClient) -> WebSocketSession:
    return await sync_to_async(sessions.get)(UUID(client.session_id))


def test_who_is_not_signed_in_is_accepted_and_closed_with_4401() -> None:
    @async_to_sync
    async def scenario() -> int:
        client = LiveClient()
        assert await client.connect()
        return await client.close_code()

    assert scenario() == 4401


def test_a_page_of_another_site_is_refused(ada: User) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> bool:
        return await LiveClient(cookie, origin="http://evil.example").connect()

    assert not scenario()


def test_a_connection_is_a_row_from_its_greeting_to_its_end(ada: User) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> None:
        async with connected(cookie) as client:
            opened = await row_of(client)
        closed = await row_of(client)

        assert (opened.user_id, opened.closed_at) == (ada.pk, None)
        assert (closed.closed_at is not None, closed.close_code) == (True, 1000)

    scenario()


def test_a_ping_is_answered_and_noted(ada: User) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> None:
        async with connected(cookie) as client:
            before = await row_of(client)

            await client.say({"type": "ping"})
            answer = await client.hear()

            assert answer["type"] == "pong"
            assert answer["timestamp"].endswith("Z")
            after = await row_of(client)
            assert after.last_ping_at > before.last_ping_at

    scenario()


def test_a_subscription_is_stored_with_its_session(ada: User) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> None:
        async with connected(cookie) as client:
            answer = await client.subscribe(severities=["high"])

            assert answer["resume"] == "none"
            assert (await row_of(client)).subscriptions["severities"] == ["high"]

    scenario()


TOO_MANY = [str(number) for number in range(501)]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "malformed"),
        ([1], "unknown_type"),
        ({"type": "dance"}, "unknown_type"),
        ({"type": ["ping"]}, "unknown_type"),
        ({"type": "subscribe", "subscriptions": {"types": "x"}}, "invalid_subscription"),
        ({"type": "subscribe", "subscriptions": {"colours": []}}, "invalid_subscription"),
        ({"type": "subscribe", "subscriptions": {"types": TOO_MANY}}, "invalid_subscription"),
        ({"type": "subscribe", "subscriptions": {"types": ["x" * 201]}}, "invalid_subscription"),
        ({"type": "subscribe", "since": 7}, "invalid_subscription"),
    ],
)
def test_a_bad_message_is_answered_and_the_connection_lives(
    ada: User, message: object, code: str
) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> None:
        async with connected(cookie) as client:
            await client.say(message)
            answer = await client.hear()
            await client.say({"type": "ping"})

            assert (answer["type"], answer["code"]) == ("error", code)
            assert (await client.hear())["type"] == "pong"

    scenario()


def test_a_message_above_64_kb_closes_with_1009(ada: User) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> int:
        async with connected(cookie) as client:
            await client.say({"type": "ping", "padding": "x" * consumers.MOST_BYTES})
            return await client.close_code()

    assert scenario() == 1009


def test_a_flood_of_messages_closes_with_4429(ada: User) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> int:
        async with connected(cookie) as client:
            for _ in range(consumers.MOST_MESSAGES_PER_SECOND + 1):
                await client.say("")
            return await client.close_code()

    assert scenario() == 4429


def test_more_connections_than_one_user_may_have_are_refused(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = sign_in(ada)
    monkeypatch.setattr(sessions, "MOST_PER_USER", 1)

    @async_to_sync
    async def scenario() -> int:
        async with connected(cookie):
            second = LiveClient(cookie)
            await second.connect()
            return await second.close_code()

    assert scenario() == 4429


def test_who_signs_out_is_closed_at_the_next_subscription(ada: User) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> int:
        async with connected(cookie) as client:
            await Session.objects.all().adelete()
            await client.say({"type": "subscribe"})
            return await client.close_code()

    assert scenario() == 4401


def test_who_is_deactivated_is_closed_within_the_check_period(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = sign_in(ada)
    monkeypatch.setattr(consumers, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(consumers, "USER_CHECK_SECONDS", 0.05)

    @async_to_sync
    async def scenario() -> int:
        async with connected(cookie) as client:
            await User.objects.filter(pk=ada.pk).aupdate(is_active=False)
            return await client.close_code()

    assert scenario() == 4401


def test_a_silent_client_is_closed_with_4408(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = sign_in(ada)
    monkeypatch.setattr(consumers, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(sessions, "SILENCE", timedelta(seconds=0.1))

    @async_to_sync
    async def scenario() -> int:
        async with connected(cookie) as client:
            return await client.close_code()

    assert scenario() == 4408


def test_the_housekeeping_closes_stale_sessions_and_hangs_up(ada: User, bob: User) -> None:
    cookies = [sign_in(ada), sign_in(bob)]

    def fall_silent() -> None:
        long_ago = clock.now() - sessions.SILENCE - timedelta(seconds=1)
        WebSocketSession.objects.filter(user=ada).update(last_ping_at=long_ago)

    @async_to_sync
    async def scenario() -> None:
        async with connected(cookies[0]) as silent, connected(cookies[1]) as awake:
            await sync_to_async(fall_silent)()

            await sync_to_async(tasks.close_stale_sessions)()

            assert await silent.close_code() == 4408
            assert (await row_of(silent)).close_code == 4408
            assert (await row_of(awake)).closed_at is None

    scenario()


def test_who_is_cut_off_while_it_is_answered_leaves_as_everybody_does(ada: User) -> None:
    scope = LiveClient(sign_in(ada)).communicator.scope

    async def send(message: dict[str, Any]) -> None:
        if "pong" in message.get("text", ""):
            raise ConnectionResetError("it is gone")

    @async_to_sync
    async def scenario() -> None:
        said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        said.put_nowait({"type": "websocket.connect"})
        said.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": "ping"})})
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(20):
                await application(scope, said.get, send)
        assert not feed.of_this_loop()._clients

    scenario()

    session = WebSocketSession.objects.get()
    assert session.closed_at is not None
    assert session.close_code == consumers.CUT_OFF
