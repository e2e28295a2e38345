from __future__ import annotations

import json
import random
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User

from errors_app import recovery
from executions_app import lifecycle
from executions_app.states import ExecutionStatus
from tests import verbs
from tests.executions_app.conftest import Create
from tests.executions_app.live_client import connected, event, record, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


def test_nothing_is_sent_before_the_first_subscription(ada: User) -> None:
    cookie = sign_in(ada)

    @async_to_sync
    async def scenario() -> None:
        async with connected(cookie) as client:
            await sync_to_async(record)(event("unheard", owner_id=ada.pk))
            await client.say({"type": "ping"})

            assert (await client.hear())["type"] == "pong"

    scenario()


def test_everybody_hears_what_is_theirs_and_the_superuser_hears_all(
    ada: User, bob: User, root: User
) -> None:
    cookies = [sign_in(one) for one in (ada, bob, root)]
    told = [
        event("of ada", owner_id=ada.pk),
        event("of bob", owner_id=bob.pk),
        event("of the system", type="error:recorded"),
        event("for all", type="scheduler:status", topic="system"),
    ]

    @async_to_sync
    async def scenario() -> list[list[str]]:
        async with (
            connected(cookies[0]) as of_ada,
            connected(cookies[1]) as of_bob,
            connected(cookies[2]) as of_root,
        ):
            for client in (of_ada, of_bob, of_root):
                await client.subscribe()
            await sync_to_async(record)(*told)
            return [await of_ada.names(2), await of_bob.names(2), await of_root.names(4)]

    assert scenario() == [
        ["of ada", "for all"],
        ["of bob", "for all"],
        ["of ada", "of bob", "of the system", "for all"],
    ]


SCHEDULE, EXECUTION = uuid4(), uuid4()


@pytest.mark.parametrize(
    "filters",
    [
        {"severities": ["high"]},
        {"schedules": [str(SCHEDULE)]},
        {"executions": [str(EXECUTION)]},
        {"executions": ["7"]},
        {"agents": ["warmer"]},
        {"types": ["error:recorded"]},
        {"types": ["error:recorded"], "severities": ["high", "critical"]},
    ],
)
def test_only_events_that_match_the_filters_arrive(root: User, filters: dict[str, Any]) -> None:
    cookie = sign_in(root)
    wanted = event(
        "wanted",
        type="error:recorded",
        severity="high",
        schedule_id=SCHEDULE,
        execution_id=EXECUTION,
        data={"name": "wanted", "number": 7, "agent": "warmer"},
    )
    other = event("other", severity="low", schedule_id=uuid4(), execution_id=uuid4())

    @async_to_sync
    async def scenario() -> list[str]:
        async with connected(cookie) as client:
            await client.subscribe(**filters)
            await sync_to_async(record)(other, wanted, other, wanted)
            return await client.names(2)

    assert scenario() == ["wanted", "wanted"]


def test_a_new_subscription_replaces_the_old_one(root: User) -> None:
    cookie = sign_in(root)

    @async_to_sync
    async def scenario() -> list[str]:
        async with connected(cookie) as client:
            await client.subscribe(types=["schedule:created"])
            await client.subscribe(types=["schedule:deleted"])
            await sync_to_async(record)(
                event("not any more", type="schedule:created"),
                event("now", type="schedule:deleted"),
            )
            return await client.names(1)

    assert scenario() == ["now"]


def test_every_move_of_an_execution_is_heard(ada: User, create: Create) -> None:
    cookie = sign_in(ada)

    def run_one() -> None:
        execution_id = create(ExecutionStatus.QUEUED, owner_id=ada.pk)
        (claimed,) = lifecycle.claim([execution_id], worker_id="w")
        lifecycle.report_progress(claimed, {"done": 1, "total": 2})
        verbs.complete(claimed, output="done")

    @async_to_sync
    async def scenario() -> list[str]:
        async with connected(cookie) as client:
            await client.subscribe()
            await sync_to_async(run_one)()
            heard: list[str] = []
            while "execution:completed" not in heard:
                heard.append((await client.hear())["type"])
            return heard

    heard = scenario()

    assert [one for one in heard if one != "execution:progress"] == [
        "execution:queued",
        "execution:started",
        "execution:completed",
    ]


def test_an_agent_tells_of_its_start_and_its_end(ada: User, create: Create) -> None:
    cookie = sign_in(ada)
    snapshot = {"name": "an agent", "task_type": "agent", "timeout_ms": 1000}

    def run_one() -> None:
        execution_id = create(ExecutionStatus.QUEUED, owner_id=ada.pk, snapshot=snapshot)
        (claimed,) = lifecycle.claim([execution_id], worker_id="w")
        verbs.complete(claimed, output="done")

    @async_to_sync
    async def scenario() -> list[str]:
        async with connected(cookie) as client:
            await client.subscribe(types=["agent:started", "agent:completed"])
            await sync_to_async(run_one)()
            return [(await client.hear())["type"] for _ in range(2)]

    assert scenario() == ["agent:started", "agent:completed"]


def test_a_failed_attempt_tells_of_its_error_with_its_severity(ada: User, create: Create) -> None:
    cookie = sign_in(ada)

    def fail_once() -> None:
        execution_id = create(ExecutionStatus.QUEUED, owner_id=ada.pk)
        (claimed,) = lifecycle.claim([execution_id], worker_id="w")
        recovery.recover(claimed, ValueError("broken"), rng=random.Random(1))

    @async_to_sync
    async def scenario() -> dict[str, object]:
        async with connected(cookie) as client:
            await client.subscribe(types=["error:recorded"], severities=["high"])
            await sync_to_async(fail_once)()
            return await client.hear()

    told = scenario()

    assert told["type"] == "error:recorded"
    assert json.dumps(told["data"])
