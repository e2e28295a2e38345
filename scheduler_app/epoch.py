"""Notices that Redis was emptied, restarted or set back, and has all queued work published again.

A counter advanced by one compare-and-set winner per round stands in PostgreSQL and in Redis, beside
Redis' own run id. A Redis that knows less than PostgreSQL has lost messages; a random key alone
would miss a restored snapshot, which brings the key back with it.
"""

from __future__ import annotations

import logging
from typing import Final

from executions_app import clock, outbox, prepared
from executions_app.models import SystemState
from scheduler_app.queues import asking

KEY: Final = "cadenza:epoch"
SLACK: Final = 5  # rounds that another beat may have counted and not yet written
READ: Final = "SELECT redis_epoch, redis_run_id FROM system_state"
ADVANCE: Final = "UPDATE system_state SET redis_epoch = %s WHERE redis_epoch = %s"
AT_ONCE: Final = 5_000  # rows in one statement, so that none of them waits long for it
# A Redis that was emptied since it was read must not be told what it should have forgotten.
SET_IF_UNCHANGED: Final = """
if (redis.call('GET', KEYS[1]) or '') == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end
"""

logger = logging.getLogger(__name__)


def keep() -> int:
    """Compare, repair if needed and advance; answers how many rows were marked for publishing.

    Raises BrokerAway when Redis does not answer. A crash between the steps repeats the repair.
    """
    # The database first: what a slower beat then reads from Redis can only be newer, never behind.
    state = prepared.execute(READ).fetchone()
    assert state is not None  # the metronome has looked at it
    epoch, known_run_id = state
    with asking() as client, client.pipeline(transaction=False) as pipeline:
        pipeline.info("server")
        pipeline.get(KEY)
        server, seen = pipeline.execute()
    marked, run_id = 0, str(server["run_id"])
    is_behind = seen is None or int(seen) < epoch - SLACK
    if is_behind or known_run_id != run_id:
        marked = _repair(known_run_id, run_id)
    if prepared.execute(ADVANCE, [epoch + 1, epoch]).rowcount:
        with asking() as client:
            client.eval(SET_IF_UNCHANGED, 1, KEY, seen or b"", epoch + 1)
    return marked


def _repair(known_run_id: str, run_id: str) -> int:
    is_first_start = not known_run_id
    noticed_at = clock.now()
    marked = 0
    while some := outbox.unpublish_before(noticed_at, limit=AT_ONCE):
        marked += some
    SystemState.objects.update(redis_run_id=run_id)
    if not is_first_start:
        logger.warning("Redis was restarted, emptied or set back: %s messages go again", marked)
    return marked
