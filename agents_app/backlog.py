"""Takes further messages from the queues while any stand there, many short ones at a time.

Celery hands out one message after the other, which costs more than a short execution itself. So a
worker that has carried out its message looks for more before it ends: Celery only wakes it up.
What is taken is what Celery would have taken next, from the same queues in the same order.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from uuid import UUID

import redis
from celery.signals import celeryd_after_setup

from agents_app.broker import broker

RUN: Final = "cadenza.run"
OURS: Final = f'"task": "{RUN}"'
WORK_MS: Final = 50.0  # what is predicted to take longer together is not taken together
MOST_MESSAGES: Final = 128
EMPTY_SECONDS: Final = 0.02  # after nothing was found nobody looks again so soon

# Messages that carry a prediction may share a worker's turn; the others need a thread each. Of what
# stands in a queue at most half is taken, for there may be others who have nothing to do. A message
# that is not ours ends the search: it is Celery's turn to take it.
TAKE: Final = """
local mark, apart, most, budget = ARGV[1], ARGV[2] == 'apart', tonumber(ARGV[3]), tonumber(ARGV[4])
for _, queue in ipairs(KEYS) do
    local standing = redis.call('LLEN', queue)
    if standing > 0 then
        local share = math.min(most, math.ceil(standing / 2))
        local taken = 0
        while taken < share do
            local text = redis.call('LINDEX', queue, -1 - taken)
            if not string.find(text, mark, 1, true) then break end
            local predicted = tonumber(string.match(text, '"predicted_ms": ([%d.]+)'))
            if apart then
                if predicted then break end
            else
                if taken > 0 and (not predicted or predicted > budget) then break end
                budget = budget - (predicted or budget)
            end
            taken = taken + 1
            if budget <= 0 then break end
        end
        if taken == 0 then return {} end
        return redis.call('RPOP', queue, taken)
    end
end
return false
"""
_BODY: Final = re.compile(rb'"body": "([^"]*)"')

logger = logging.getLogger(__name__)
_turn = threading.Lock()


class _Found:
    """What this process knows of its queues; outside a worker there are none."""

    queues: Sequence[str] = ()
    nothing_until = float("-inf")  # monotonic: until then nobody looks again


@celeryd_after_setup.connect
def find_queues(instance: Any, **_: Any) -> None:
    """A worker starts: these are the queues that it reads, in their order."""
    _Found.queues = list(instance.app.amqp.queues.consume_from)


def take() -> list[UUID]:
    """The executions to carry out next, one after the other; empty when there are none.

    Either many that are predicted to be short, or those of a single message.
    """
    return _take("together", MOST_MESSAGES)


def take_apart(*, most: int) -> list[UUID]:
    """Up to `most` executions of unknown length, for as many free threads."""
    return _take("apart", min(most, MOST_MESSAGES))


def _take(how: str, most: int) -> list[UUID]:
    if time.monotonic() < _Found.nothing_until or not _turn.acquire(blocking=False):
        return []
    try:
        texts: Any = _Found.queues and _script()(
            keys=_Found.queues, args=[OURS, how, most, WORK_MS]
        )
    except (redis.RedisError, OSError) as error:
        logger.debug("Redis was not asked for further messages: %s", error)
        texts = None
    finally:
        _turn.release()
    if texts is None:
        _Found.nothing_until = time.monotonic() + EMPTY_SECONDS
    return [one for text in texts or () for one in _execution_ids(text)]


def _execution_ids(text: bytes) -> list[UUID]:
    found = _BODY.search(text)
    try:
        _, kwargs, _ = json.loads(base64.b64decode(found[1] if found else b""))
        return [UUID(one) for one in kwargs["execution_ids"]]
    except (ValueError, TypeError, KeyError):
        logger.exception("A message cannot be read and is dropped; its executions are sent again")
        return []


@cache
def _script() -> Any:
    return broker().register_script(TAKE)
