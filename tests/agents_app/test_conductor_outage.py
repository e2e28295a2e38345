"""While the Conductor is down its executions fail soon, are tried later, and then go on alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import User

from agents_app import runner
from agents_app.clients import conductor
from agents_app.clients.conductor import ConductorClient
from errors_app.breakers import store as redis_store
from errors_app.breakers.recorder import Recorder
from errors_app.breakers.script import PREFIX
from errors_app.models import DeadLetter, ErrorRecord
from executions_app import clock
from executions_app.models import Execution
from scheduler_app import dispatcher
from tests.agents_app.scripted import Queue, in_the_background, stored
from tests.errors_app.breaking import SLOW, a_process, until
from tests.fakes.conductor_server import ConductorServer, conductor_server

pytestmark = pytest.mark.django_db(transaction=True)
TASK = {"task_type": "conductor", "task_config": {"content": "do it"}}


@pytest.fixture
def port() -> int:
    """Where a Conductor was, and nobody is now."""
    with conductor_server() as server:
        return int(server.url.rpartition(":")[2])


@pytest.fixture(autouse=True)
def door(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process' way to that Conductor, with breakers as a worker has them."""
    url = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(conductor, "BASE_MS", 1)
    door = conductor.door_to(url, a_process(SLOW, Recorder()))
    client = ConductorClient(url, timeout_ms=20_000, door=door, rng=random.Random(7))
    monkeypatch.setattr(conductor, "client", lambda: client)
    yield
    door.close()


@contextmanager
def back(port: int) -> Iterator[ConductorServer]:
    with conductor_server(port=port) as server:
        yield server


def tried(execution_id: UUID) -> Execution:
    runner.run([execution_id])
    return stored(execution_id)


def tried_when_due(execution_id: UUID) -> Execution:
    """The next attempt, released by the dispatcher as if its time had come."""
    row = stored(execution_id)
    assert row.status == "pending"
    Execution.objects.filter(id=row.id).update(due_at=clock.now() - timedelta(seconds=1))
    dispatcher.release_due(ids=[row.id])
    return tried(execution_id)


def cooldown_is_over(port: int) -> None:
    redis_store.client().hset(f"{PREFIX}http://127.0.0.1:{port}", "next_probe", 1)


def errors_of(execution_id: UUID) -> list[str]:
    of_execution = ErrorRecord.objects.filter(execution_id=execution_id).order_by("attempt")
    return [f"{one.exception_type} {one.error_class}" for one in of_execution]


def test_an_execution_is_tried_later_and_completes_once_the_conductor_is_back(
    queue: Queue, port: int
) -> None:
    one = queue(**TASK, max_retries=3)

    row = tried(one)
    assert (row.status, row.attempt) == ("pending", 1)
    assert errors_of(one) == ["ConductorAway transient"]
    with back(port) as server:
        row = tried_when_due(one)

    assert (row.status, row.attempt, row.result) == (
        "completed",
        2,
        {"thread_id": str(one), "message_id": "message-1", "output": {"said": "done"}},
    )
    assert len(server.messages()) == 1
    record = ErrorRecord.objects.get(execution_id=one)
    assert record.recovery_status in {"retrying", "resolved"}


def test_a_conductor_that_stays_away_is_left_alone_by_all_until_a_probe_goes_well(
    queue: Queue, port: int
) -> None:
    first, second = queue(**TASK, max_retries=5), queue_more(queue, max_retries=5)
    tried(first)
    tried_when_due(first)  # the fifth call in a row that nobody answers

    refused = tried(second)

    assert refused.status == "pending"
    assert errors_of(first)[-1] == "ConductorAway transient"
    (record,) = ErrorRecord.objects.filter(execution_id=second)
    assert "is left alone, since too many calls failed" in record.message
    assert record.retry_at is not None
    with back(port) as server:
        still_refused = tried_when_due(second)
        assert (still_refused.status, server.asked) == ("pending", [])
        cooldown_is_over(port)
        until(lambda: tried_when_due_or_done(second) == "completed", what="the probe goes")
        until(lambda: tried_when_due_or_done(first) == "completed", what="the others follow")
        assert len(server.messages()) == 2
    assert not DeadLetter.objects.exists()


def tried_when_due_or_done(execution_id: UUID) -> str:
    """Without using up attempts: what was refused is given them back."""
    row = stored(execution_id)
    if row.status != "pending":
        return row.status
    Execution.objects.filter(id=row.id).update(max_attempts=row.attempt + 5)
    return tried_when_due(execution_id).status


def queue_more(queue: Queue, *, max_retries: int) -> UUID:
    """Another execution of the same kind, of somebody else."""
    User.objects.filter(username="owner").update(username="the first owner")
    return queue(**TASK, max_retries=max_retries)


def test_after_its_last_attempt_it_is_a_dead_letter_that_says_why(queue: Queue, port: int) -> None:
    one = queue(**TASK, max_retries=1)

    tried(one)
    row = tried_when_due(one)

    assert (row.status, row.attempt) == ("failed", 2)
    letter = DeadLetter.objects.get(execution_id=one)
    assert letter.error_class == "transient"
    assert "The Conductor was not reached" in letter.message


def test_one_that_goes_away_in_mid_task_gets_a_new_message_when_it_is_back(
    queue: Queue, port: int
) -> None:
    one = queue(**TASK, max_retries=3)
    with back(port) as server:
        server.looks = 10_000
        worker = in_the_background(one)
        until(lambda: len(server.asked) >= 2, what="the thread is looked at")
    worker.join(20)

    assert not worker.is_alive()
    assert (stored(one).status, errors_of(one)) == ("pending", ["ConductorAway transient"])
    with back(port) as server:
        cooldown_is_over(port)
        until(lambda: tried_when_due_or_done(one) == "completed", what="it is carried out")
        keys = [message.headers["idempotency-key"] for message in server.messages()]
    assert keys == [f"{one}:{stored(one).attempt}"]
