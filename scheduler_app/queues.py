"""Publishing: priority -> queue, many messages in one round trip to Redis.

A message is a wake-up hint that carries ids only. It is pushed onto the list that a worker pops;
going through the list directly makes a batch one pipeline and keeps a flushed binding table from
swallowing messages.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import redis

from agents_app.broker import broker as broker
from executions_app.outbox import Message
from executions_app.states import Priority
from scheduler_app import envelopes, slices

PRIORITY_QUEUES: Final = tuple(one.value for one in Priority)
ALL_QUEUES: Final = (*PRIORITY_QUEUES, "system")
PREDICTIONS: Final = "cadenza:predictions"
PAUSE_AFTER_FAILURE_SECONDS: Final = 2.0


class BrokerAway(ConnectionError):
    """Redis did not take the messages (or did not say so); the rows stay to be published."""


class _Patience:
    """After a failure the broker is left alone for a moment, so that rounds stay short."""

    until = float("-inf")


@contextmanager
def asking() -> Iterator[redis.Redis]:
    """The broker, with every failure as BrokerAway; refuses at once shortly after a failure."""
    if is_left_alone():
        raise BrokerAway("Redis did not answer a moment ago")
    try:
        yield broker()
    except (redis.RedisError, OSError) as error:
        leave_alone()
        raise BrokerAway(f"Redis did not answer: {error}") from error


def is_left_alone() -> bool:
    """Whether the broker has failed this process a moment ago."""
    return time.monotonic() < _Patience.until


def leave_alone() -> None:
    """It has failed just now: this process asks it nothing for PAUSE_AFTER_FAILURE_SECONDS."""
    _Patience.until = time.monotonic() + PAUSE_AFTER_FAILURE_SECONDS


def publish(messages: Iterable[Message], *, most_per_message: int | None = None) -> int:
    """Send the messages in one pipeline, quick ones many in one; answers how many were sent.

    `most_per_message` bounds how many executions share one. Raises BrokerAway when Redis does not
    answer. That is no proof of non-delivery: duplicates die at the claim.
    """
    by_queue: dict[str, list[Message]] = defaultdict(list)
    for one in messages:
        by_queue[one.queue].append(one)
    if not by_queue:
        return 0
    most = most_per_message or slices.MOST
    is_asked = most > 1 and slices.needs_to_know_who_is_idle(by_queue.values())
    sent = 0
    with asking() as client, client.pipeline(transaction=False) as pipeline:
        idle = _idle_workers(client) if is_asked else 0
        for queue, some in by_queue.items():
            together = slices.cut(some, idle=idle, most=most)
            ids = [[one.execution_id for one in each] for each in together]
            work = [slices.work_ms(each) for each in together]
            pipeline.lpush(queue, *envelopes.build(ids, queue=queue, predicted_ms=work))
            sent += len(together)
        pipeline.execute()
    return sent


def _idle_workers(client: redis.Redis) -> int:
    """How many clients wait for a message: too many at worst, which makes slices smaller."""
    info: Any = client.info("clients")
    return int(info["blocked_clients"])


def exchange(news: Mapping[str, str]) -> dict[str, str]:
    """Leave these predictions for other beats; answers those of all. Raises BrokerAway."""
    fields: dict[Any, Any] = dict(news)
    with asking() as client:
        if fields:
            client.hset(PREDICTIONS, mapping=fields)
        known: Any = client.hgetall(PREDICTIONS)
    return {task_type.decode(): text.decode() for task_type, text in known.items()}


def depths() -> dict[str, int]:
    """How many messages stand in each queue; raises BrokerAway."""
    with asking() as client, client.pipeline(transaction=False) as pipeline:
        for queue in ALL_QUEUES:
            pipeline.llen(queue)
        return dict(zip(ALL_QUEUES, pipeline.execute(), strict=True))
