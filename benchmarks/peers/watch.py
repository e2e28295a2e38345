"""Beside the product: the instant at which the last of a burst of messages stands in Redis.

The benchmark of the product looks with the same eyes as those of its peers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

EARLY_SECONDS: Final = 0.2  # before the instant, looking becomes frequent
PAUSE_SECONDS: Final = 0.002
QUIET_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Burst:
    """How long after `due_at` the last message came, and how many there were by then."""

    seconds: float
    messages: int


def burst(
    redis: Any,
    queues: Sequence[str],
    *,
    due_at: float,
    is_complete: Callable[[int], bool],
    give_up_seconds: float,
) -> Burst:
    """Look at the lengths of lists until `is_complete(length)` holds and nothing more comes.

    `redis` is a redis-py client, `due_at` seconds since the epoch. What came until
    `give_up_seconds` after `due_at` is the answer if it is never complete.
    """
    time.sleep(max(0.0, due_at - time.time() - EARLY_SECONDS))
    before, seen, changed_at = _length(redis, queues), 0, due_at
    while (now := time.time()) < due_at + give_up_seconds:
        length = _length(redis, queues) - before
        if length != seen:
            seen, changed_at = length, time.time()
        elif now - changed_at > QUIET_SECONDS and now > due_at and is_complete(seen):
            break
        time.sleep(PAUSE_SECONDS)
    return Burst(changed_at - due_at, seen)


def _length(redis: Any, queues: Sequence[str]) -> int:
    with redis.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.llen(queue)
        return sum(pipeline.execute())
