"""A process writes itself down while it lives; who is silent without a word is gone."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from executions_app import clock, presence, retention
from executions_app.lifespan import lifespan
from executions_app.models import Process, ProcessKind
from executions_app.presence import Keeper, Presence, Self
from executions_app.rounds import Rounds
from tests.factories import UserFactory
from tests.rest import signed_in

pytestmark = pytest.mark.django_db


def this(kind: ProcessKind = ProcessKind.WORKER) -> Self:
    return Self(kind, "io@one", ["high", "low"])


def row(mine: Self) -> Process:
    assert mine.id is not None
    return Process.objects.get(id=mine.id)


def test_a_process_writes_one_row_and_renews_it() -> None:
    mine = this()
    mine.write()
    Process.objects.update(seen_at=clock.now() - timedelta(minutes=1))

    mine.write()

    (found,) = Process.objects.all()
    assert (found.kind, found.name, found.queues) == ("worker", "io@one", ["high", "low"])
    assert found.seen_at == clock.now()
    assert presence.of(found, now=clock.now()) is Presence.RUNNING


def test_a_process_is_stopping_then_stopped() -> None:
    mine = this()
    mine.write()

    mine.is_stopping = True
    mine.write()
    assert presence.of(row(mine), now=clock.now()) is Presence.STOPPING
    later = clock.now() + timedelta(minutes=1)
    assert presence.of(row(mine), now=later) is Presence.STOPPED
    mine.say_goodbye()
    assert presence.of(row(mine), now=clock.now()) is Presence.STOPPED
    assert presence.living(now=clock.now()) == []


def test_a_process_that_is_silent_for_three_periods_is_gone_and_may_come_back() -> None:
    mine = this()
    mine.write()
    later = clock.now() + presence.until_gone()

    assert presence.of(row(mine), now=later) is Presence.RUNNING
    assert presence.of(row(mine), now=later + timedelta(seconds=1)) is Presence.GONE
    assert presence.living(now=later + timedelta(seconds=1)) == []
    mine.write()
    assert presence.of(row(mine), now=clock.now()) is Presence.RUNNING


def test_a_row_that_was_forgotten_is_made_again() -> None:
    mine = this()
    mine.write()
    Process.objects.all().delete()

    mine.write()

    assert row(mine).name == "io@one"


def test_processes_are_forgotten_after_a_day() -> None:
    mine, other = this(), this()
    mine.write()
    other.write()
    Process.objects.filter(id=row(mine).id).update(seen_at=clock.now() + timedelta(hours=3))

    retention.apply(clock.now() + timedelta(hours=25))

    assert [one.id for one in Process.objects.all()] == [mine.id]


def test_everybody_sees_the_processes() -> None:
    user: User = UserFactory.create()
    mine = this()
    mine.write()
    this(ProcessKind.BEAT).write()
    Process.objects.filter(kind="beat").update(seen_at=clock.now() - timedelta(minutes=1))

    shown = signed_in(user).get("/api/processes").json()["results"]
    workers = signed_in(user).get("/api/processes?kind=worker").json()["results"]

    assert {one["kind"]: one["status"] for one in shown} == {"worker": "running", "beat": "gone"}
    assert [one["id"] for one in workers] == [str(mine.id)]


def until_written() -> None:
    ends = time.monotonic() + 20
    while not Process.objects.exists():
        assert time.monotonic() < ends, "nothing was written"
        time.sleep(0.01)
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_web_process_is_there_from_its_start_to_its_end() -> None:
    told: list[str] = []

    async def life() -> None:
        received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def send(message: Any) -> None:
            told.append(message["type"])

        running = asyncio.create_task(lifespan({}, received.get, send))
        await received.put({"type": "lifespan.startup"})
        await asyncio.to_thread(until_written)
        await received.put({"type": "lifespan.shutdown"})
        await running

    asyncio.run(life())

    (found,) = Process.objects.all()
    assert (found.kind, found.stopped_at is not None) == ("web", True)
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.django_db(transaction=True)
def test_a_keeper_writes_until_it_ends_and_begins_once() -> None:
    keeper = Keeper()
    keeper.begin(ProcessKind.BEAT)
    keeper.begin(ProcessKind.BEAT)
    keeper.end()
    keeper.end()

    (found,) = Process.objects.all()
    assert found.stopped_at is not None


def test_a_duty_that_fails_is_done_again() -> None:
    called = threading.Semaphore(0)

    def duty() -> None:
        called.release()
        raise ValueError("not now")

    rounds = Rounds("test", duty, seconds=0.01)
    rounds.start()
    for _ in range(3):
        assert called.acquire(timeout=10)
    rounds.stop()

    assert not rounds.is_running
