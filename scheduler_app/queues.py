"""Publishing: priority -> queue, many messages in one round trip to Redis.

A message is a wake-up hint that carries ids only. It is pushed onto the list that a worker pops,
in Celery's message protocol 2 as kombu's Redis transport lays it out; going through the list
directly makes a batch one pipeline and keeps a flushed binding table from swallowing messages.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Final
from uuid import UUID, uuid4

import redis
from django.conf import settings

from agents_app.tasks import RUN
from executions_app.outbox import Message
from executions_app.states import Priority

PRIORITY_QUEUES: Final = tuple(one.value for one in Priority)
ALL_QUEUES: Final = (*PRIORITY_QUEUES, "system")
PAUSE_AFTER_FAILURE_SECONDS: Final = 2.0
EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
ORIGIN: Final = f"{os.getpid()}@{socket.gethostname()}"


class BrokerAway(ConnectionError):
    """Redis did not take the messages (or did not say so); the rows stay to be published."""


class _Patience:
    """After a failure the broker is left alone for a moment, so that rounds stay short."""

    until = float("-inf")


def forgive() -> None:
    """Ask the broker again at once, whatever happened before."""
    _Patience.until = float("-inf")


@contextmanager
def asking() -> Iterator[redis.Redis]:
    """The broker, with every failure as BrokerAway; refuses at once shortly after a failure."""
    if time.monotonic() < _Patience.until:
        raise BrokerAway("Redis did not answer a moment ago")
    try:
        yield broker()
    except (redis.RedisError, OSError) as error:
        _Patience.until = time.monotonic() + PAUSE_AFTER_FAILURE_SECONDS
        raise BrokerAway(f"Redis did not answer: {error}") from error


@cache
def broker() -> redis.Redis:
    """This process' connection to the broker, with bounded waits."""
    return redis.Redis.from_url(
        settings.REDIS_BROKER_URL,
        socket_timeout=2,
        socket_connect_timeout=1,
        health_check_interval=15,
        retry=None,
    )


def publish(messages: Iterable[Message]) -> int:
    """Send one message per execution, in one pipeline; answers how many were sent.

    Raises BrokerAway when Redis does not answer. That is no proof of non-delivery: duplicates die
    at the claim.
    """
    by_queue: dict[str, list[str]] = defaultdict(list)
    for one in messages:
        by_queue[one.queue].append(_envelope([one.execution_id], one.queue))
    if not by_queue:
        return 0
    with asking() as client, client.pipeline(transaction=False) as pipeline:
        for queue, envelopes in by_queue.items():
            pipeline.lpush(queue, *envelopes)
        pipeline.execute()
    return sum(map(len, by_queue.values()))


def depths() -> dict[str, int]:
    """How many messages stand in each queue; raises BrokerAway."""
    with asking() as client, client.pipeline(transaction=False) as pipeline:
        for queue in ALL_QUEUES:
            pipeline.llen(queue)
        return dict(zip(ALL_QUEUES, pipeline.execute(), strict=True))


def _envelope(execution_ids: Sequence[UUID], queue: str) -> str:
    task_id = str(uuid4())
    ids = [str(one) for one in execution_ids]
    body = json.dumps([[], {"execution_ids": ids}, EMBED])
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": RUN,
                "id": task_id,
                "root_id": task_id,
                "parent_id": None,
                "group": None,
                "eta": None,
                "expires": None,
                "retries": 0,
                "timelimit": [None, None],
                "argsrepr": "()",
                "kwargsrepr": repr({"execution_ids": ids}),
                "origin": ORIGIN,
                "ignore_result": True,
            },
            "properties": {
                "correlation_id": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
    )
