"""What Celery is told: the settings of the product that become settings of its workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FrameType, SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import signals
from kombu import Connection, Consumer, Exchange, Message, Queue

from agents_app import leaving
from config.celery import CLOSED, LastMessages, app
from config.env import CHECKOUT, env
from executions_app import presence
from executions_app.rounds import Rounds

ASK = "import json; from config.celery import app; print(json.dumps({}))"


def told(setting: str, **environment: str) -> object:
    """What Celery is told in a process with that environment."""
    program = ASK.format(f"app.conf.{setting}")
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT, env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: object = json.loads(ended.stdout.splitlines()[-1])
    return answer


def test_a_child_of_a_prefork_worker_has_480_mb_unless_somebody_says_otherwise() -> None:
    assert type(env).model_fields["worker_max_memory_mb"].default == 480
    assert app.conf.worker_max_memory_per_child == env.worker_max_memory_mb * 1024


@pytest.mark.parametrize(("megabytes", "kib"), [("200", 204_800), ("0", None)])
def test_the_memory_of_a_child_is_said_in_megabytes_and_told_in_kib(
    megabytes: str, kib: int | None
) -> None:
    assert told("worker_max_memory_per_child", WORKER_MAX_MEMORY_MB=megabytes) == kib


def listens(to: Queue, connection: Connection, answer: Callable[[Message], None]) -> Any:
    """It takes one message of the queue and does that with it."""
    consumer = Consumer(connection.channel(), [to], on_message=answer)
    consumer.consume()
    connection.drain_events(timeout=5)
    return consumer


@pytest.fixture
def connection() -> Iterator[Callable[[], Connection]]:
    with ExitStack() as opened:
        yield lambda: opened.enter_context(app.connection_for_read())


def test_what_a_stopping_worker_has_given_back_stays_with_whoever_has_it_now(
    connection: Callable[[], Connection],
) -> None:
    name = f"test-{uuid4()}"
    queue = Queue(name, Exchange(name, "direct"), routing_key=name)
    connection().Producer().publish({}, exchange=name, routing_key=name, declare=[queue])
    leaver = listens(queue, connection(), lambda message: message.reject(requeue=True))
    kept: list[Message] = []
    other = listens(queue, connection(), kept.append)

    LastMessages(None).stop(
        SimpleNamespace(blueprint=SimpleNamespace(state=CLOSED), task_consumer=leaver)
    )

    broker = other.channel.client
    assert broker.llen(name) == 0
    assert broker.hexists(other.channel.unacked_key, kept[0].delivery_tag)
    kept[0].ack()


def test_a_worker_may_be_told_to_stop_wherever_it_hears_that_it_is_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal may interrupt the handler of another at any line, and waits for no lock of that."""
    app.loader.import_default_modules()
    for duty in ("_leave", "_hurry"):
        monkeypatch.setattr(leaving, duty, lambda: None)
    for told in ("times_asked", "is_leaving"):
        monkeypatch.setattr(leaving._Process, told, getattr(leaving._Process, told))
    monkeypatch.setattr(presence.keeper, "_self", SimpleNamespace())
    monkeypatch.setattr(presence.keeper, "_rounds", Rounds("test", lambda: None, seconds=60))

    def tell() -> None:
        signals.worker_shutting_down.send(sender="worker-1")

    def tell_at_every_line(_frame: FrameType, _event: str, _value: object) -> Any:
        tell()
        return tell_at_every_line

    def hear() -> None:
        sys.settrace(tell_at_every_line)
        tell()

    worker = threading.Thread(target=hear, daemon=True)
    worker.start()
    worker.join(10)

    assert not worker.is_alive(), "it waits for itself"
    assert leaving._Process.times_asked > len(signals.worker_shutting_down.receivers)
