"""Clients that keep losing their connection while four writers commit in any order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection, transaction

from executions_app import events
from tests.executions_app.live_client import connected, event, sign_in
from tests.faults.nemesis import Nemesis

pytestmark = [pytest.mark.fault, pytest.mark.django_db(transaction=True)]

WRITERS: Final = 4
LONGEST_SECONDS: Final = 0.02  # that a transaction stays open after it has written


class Heard(NamedTuple):
    names: list[str]
    reconnections: int


@pytest.fixture
def root() -> str:
    """The session of somebody who sees everything."""
    return sign_in(User.objects.create_superuser("root"))


@pytest.mark.parametrize(
    "each", [150, pytest.param(1_000, marks=pytest.mark.long)], ids=["600", "4000"]
)
def test_a_client_that_comes_back_over_and_over_hears_every_event_once(
    root: str, nemesis: Nemesis, each: int
) -> None:
    heard = listen(root, nemesis.seed, each)

    nemesis.strikes("connection left", times=heard.reconnections)
    nemesis.checks(len(heard.names))
    nemesis.found(misheard(heard.names, each))


@async_to_sync
async def listen(root: str, seed: int, each: int) -> Heard:
    """Take a few events, go away, come back with `since`, until everything was heard."""
    chance = random.Random(seed)
    names: list[str] = []
    last_seen, reconnections = None, -1
    with ThreadPoolExecutor(WRITERS) as pool:
        writing: list[Future[None]] = []
        while len(names) < WRITERS * each:
            reconnections += 1
            async with connected(root) as client:
                answer = await client.subscribe(**({"since": last_seen} if last_seen else {}))
                assert answer["resume"] == ("replayed" if last_seen else "none")
                writing = writing or [pool.submit(write, n, seed, each) for n in range(WRITERS)]
                for _ in range(min(chance.randint(1, 30), WRITERS * each - len(names))):
                    told = await client.hear()
                    names.append(told["data"]["name"])
                    last_seen = told["id"]
        for one in writing:
            one.result()
    return Heard(names, reconnections)


def write(writer: int, seed: int, each: int) -> None:
    """Events of one or several to a transaction, which commits some time after it has written."""
    chance = random.Random(f"{seed} {writer}")
    numbers = list(range(each))
    try:
        while numbers:
            some = [numbers.pop(0) for _ in range(min(chance.randint(1, 4), len(numbers)))]
            with transaction.atomic():
                events.emit([event(f"{writer}-{number}") for number in some])
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_sleep(%s)", [chance.uniform(0, LONGEST_SECONDS)])
            events.announce()
    finally:
        connection.close()


def misheard(names: list[str], each: int) -> Iterator[str]:
    for writer in range(WRITERS):
        prefix = f"{writer}-"
        own = [int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)]
        if sorted(own) != list(range(each)):
            yield f"writer {writer}: heard {len(own)} of {each}, {len(set(own))} different"
