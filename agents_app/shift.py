"""What one message sets going: its own executions, and what else stands in the queues meanwhile.

Celery wakes a worker up; from then on it helps itself, for a second at most. Long executions get
the free threads of the process at once, short ones are carried out here, many at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

from agents_app import backlog, draining, runner, threads
from executions_app.ledger import Claimed

SHIFT_SECONDS: Final = 1.0  # then Celery has its turn: it listens for what is not ours

logger = logging.getLogger(__name__)
_turn = threading.Lock()


def work(ids: Sequence[UUID]) -> None:
    """Carry out the executions of a message, then further ones while there are any."""
    ends = time.monotonic() + SHIFT_SECONDS
    lane = threads.Lane()
    try:
        while ids:
            is_surplus = False
            if len(ids) > 1:
                is_surplus = lane.enter()
            else:
                lane.leave()
                _use_free_threads()
            runner.run(ids, on_wait=lane.leave)
            ids = () if is_surplus else _more(ends)
    finally:
        lane.leave()


def _more(ends: float) -> Sequence[UUID]:
    return () if draining.is_on() or time.monotonic() > ends else backlog.take()


def _use_free_threads() -> None:
    """Start what stands in the queues in free threads; what goes wrong leaves it to be sent again.

    One thread at a time does this for its process.
    """
    if draining.is_on() or not _turn.acquire(blocking=False):
        return
    room = 0
    try:
        room = threads.reserve()
        while room > 0 and not draining.is_on() and (ids := backlog.take_apart(most=room)):
            room -= _start(ids)
    except Exception:
        logger.exception("Further messages could not be carried out; they are sent again")
    finally:
        threads.give_back(room)
        _turn.release()


def _start(ids: Sequence[UUID]) -> int:
    """Claim these and give each a thread; answers how many threads they took."""
    claimed_at = time.monotonic()
    claimed = deque(runner.claim_apart(ids))
    taken = len(claimed)
    try:
        while claimed:
            one = claimed[0]
            threads.start(
                partial(_go_on, one, claimed_at),
                on_dropped=partial(runner.return_unstarted, [one]),
            )
            claimed.popleft()
    except RuntimeError:  # the worker ends
        runner.return_unstarted(claimed)
    return taken - len(claimed)


def _go_on(claimed: Claimed, claimed_at: float) -> None:
    try:
        runner.carry_out([claimed], claimed_at=claimed_at)
        work(_more(time.monotonic() + SHIFT_SECONDS))
    except BaseException:
        logger.exception("Execution #%s could not be carried out", claimed.number)
