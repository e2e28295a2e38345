from __future__ import annotations

from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User

from executions_app import live
from tests.executions_app.live_client import (
    connected,
    event,
    forget_members,
    is_joined,
    sign_in,
    until,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nobody_is_left_in_the_group() -> None:
    forget_members()


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


def test_a_notice_goes_to_everybody_or_to_one_session(ada: User, bob: User) -> None:
    cookies = [sign_in(ada), sign_in(bob)]

    @async_to_sync
    async def scenario() -> None:
        async with connected(cookies[0]) as one, connected(cookies[1]) as other:
            session_id = UUID(one.session_id)
            await until(is_joined, what="the feed joined its group")

            assert await sync_to_async(live.send_to_session)(session_id, {"type": "for one"})
            assert (await one.hear())["type"] == "for one"
            assert await sync_to_async(live.broadcast)({"type": "for all"})

            assert (await one.hear())["type"] == "for all"
            assert (await other.hear())["type"] == "for all"

    scenario()


def test_a_closed_session_takes_no_notice(ada: User) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> bool:
        async with connected(cookie) as client:
            session_id = UUID(client.session_id)
        return await sync_to_async(live.send_to_session)(session_id, {"type": "too late"})

    assert not scenario()


def test_an_event_sent_to_subscribers_reaches_those_whose_filters_admit_it(
    ada: User, bob: User, root: User
) -> None:
    cookies = [sign_in(one) for one in (ada, bob, root)]
    told = event("told", severity="high", owner_id=ada.pk)

    @async_to_sync
    async def scenario() -> None:
        async with (
            connected(cookies[0]) as admitted,
            connected(cookies[1]) as stranger,
            connected(cookies[2]) as uninterested,
        ):
            await admitted.subscribe(severities=["high"])
            await stranger.subscribe()
            await uninterested.subscribe(severities=["low"])

            await sync_to_async(live.send_to_subscribers)(told)

            assert await admitted.names(1) == ["told"]
            for client in (stranger, uninterested):
                await client.say({"type": "ping"})
                assert (await client.hear())["type"] == "pong"

    scenario()
