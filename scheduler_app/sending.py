"""After the commit: messages go to Redis, and what Redis lost or never took goes again.

The execution row is the outbox: it says which message is still to be sent. Sending one again never
ends an execution; a duplicate dies at the claim.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

from config.env import env
from executions_app import outbox
from executions_app.outbox import Message
from executions_app.states import Priority
from scheduler_app import queues
from scheduler_app.limiting import limits_in_force
from scheduler_app.prediction import predictions

IDLE_QUEUE_GRACE_SECONDS: Final = 5.0
BUSY_QUEUE_GRACE_SECONDS: Final = 60.0
BUSY_QUEUE_MOST_AT_ONCE: Final = 20
QUEUES_OF_AGING: Final = {f"queue:{Priority.LOW}", f"queue:{Priority.HIGH}"}

logger = logging.getLogger(__name__)


class _Outage:
    """While Redis takes no messages: told when it begins and when it is over, counted between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = 0

    def goes_on(self, error: queues.BrokerAway, *, left: int) -> None:
        with self._lock:
            is_new = not self._left
            self._left += left
        if is_new:
            logger.warning("%s; messages are sent when it is back", error)

    def is_over(self) -> None:
        with self._lock:
            left, self._left = self._left, 0
        if left:
            logger.warning("Redis takes messages again; %d were left to a later round", left)


_outage: Final = _Outage()


def send(messages: Sequence[Message]) -> int:
    """Publish after the commit; answers how many are left to a later round, marked so."""
    if not messages:
        return 0
    try:
        queues.publish(messages)
    except queues.BrokerAway as error:
        _outage.goes_on(error, left=len(messages))
        outbox.unpublish([one.execution_id for one in messages])
        return len(messages)
    _outage.is_over()
    return 0


def lost_after_seconds() -> float:
    """How long a message must be under way before `republish_overdue` may send it again."""
    return min(IDLE_QUEUE_GRACE_SECONDS, env.low_priority_max_wait_seconds)


def share_predictions() -> None:
    """Tell other beats what was learned here, and learn what they tell; raises BrokerAway."""
    predictions.adopt(queues.exchange(predictions.take_news()))


def republish_overdue() -> int:
    """Publish queued executions again whose message must have been lost.

    While a queue holds messages its rows may simply be waiting: they are given a minute, and then
    few go again at a time, or duplicates would outlive the backlog. Raises BrokerAway.
    """
    depths = queues.depths()
    idle = [name for name in queues.PRIORITY_QUEUES if not depths[name]]
    busy = [name for name in queues.PRIORITY_QUEUES if depths[name]]
    most = env.scheduler_batch_size
    messages = _aged()
    messages += outbox.unsent(limit=most)
    if idle:
        messages += outbox.overdue(limit=most, grace_seconds=IDLE_QUEUE_GRACE_SECONDS, queues=idle)
    if busy:
        messages += outbox.overdue(
            limit=BUSY_QUEUE_MOST_AT_ONCE, grace_seconds=BUSY_QUEUE_GRACE_SECONDS, queues=busy
        )
    send(predictions.added_to(messages))
    return len(messages)


def _aged() -> list[Message]:
    """What waits too long at low priority, moved up once: others may pass it over for ever.

    Nothing joins or leaves a queue that has a limit: it has been counted where it stands.
    """
    if not QUEUES_OF_AGING.isdisjoint(limits_in_force.now().by_key):
        return []
    return outbox.promote(
        source=Priority.LOW,
        target=Priority.HIGH,
        after_seconds=env.low_priority_max_wait_seconds,
        limit=BUSY_QUEUE_MOST_AT_ONCE,
    )
