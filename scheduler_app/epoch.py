"""Notices that Redis was emptied, restarted or set back, and has all queued work published again.

A counter advanced by one compare-and-set winner per round stands in PostgreSQL and in Redis, beside
Redis' own run id. A Redis that knows less than PostgreSQL has lost messages; a random key alone
would miss a restored snapshot, which brings the key back with it.
"""

from __future__ import annotations

import logging
from typing import Final

from executions_app import clock, outbox
from executions_app.models import SystemState
from scheduler_app.queues import asking

KEY: Final = "cadenza:epoch"
SLACK: Final = 5  # rounds that another beat may have counted and not yet written
AT_ONCE: Final = 5_000  # rows in one statement, so that none of them waits long for it

logger = logging.getLogger(__name__)


def keep() -> int:
    """Compare, repair if needed and advance; answers how many rows were marked for publishing.

    Raises BrokerAway when Redis does not answer. A crash between the steps repeats the repair.
    """
    # The database first: what a slower beat then reads from Redis can only be newer, never behind.
    state = SystemState.objects.get()
    with asking() as client:
        run_id = str(client.info("server")["run_id"])
        seen = client.get(KEY)
    marked = 0
    is_behind = seen is None or int(seen) < state.redis_epoch - SLACK
    if is_behind or state.redis_run_id != run_id:
        marked = _repair(state, run_id)
    advanced = SystemState.objects.filter(redis_epoch=state.redis_epoch).update(
        redis_epoch=state.redis_epoch + 1
    )
    if advanced:
        with asking() as client:
            client.set(KEY, state.redis_epoch + 1)
    return marked


def _repair(state: SystemState, run_id: str) -> int:
    is_first_start = not state.redis_run_id
    noticed_at = clock.now()
    marked = 0
    while some := outbox.unpublish_before(noticed_at, limit=AT_ONCE):
        marked += some
    SystemState.objects.update(redis_run_id=run_id)
    if not is_first_start:
        logger.warning("Redis was restarted, emptied or set back: %s messages go again", marked)
    return marked
