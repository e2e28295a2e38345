"""Where an execution becomes a cycle: the row is made, the lease handed over, the first stage sent.

The thread of the worker is free from then on. An execution that is tried again goes on with the
cycle that it has: what ended well in an earlier attempt is not done again.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction

from agents_app import connections
from agents_app.agent_config import AgentConfig
from agents_app.cycle import approving, holder, places, rows
from agents_app.models import Cycle, CycleStage
from config.env import env
from executions_app import clock, events, ids, leases, steps
from executions_app.ledger import Claimed

logger = logging.getLogger(__name__)

# What the floor above knows of the schedule, read by name: a decision must say what it has seen.
SEEN: Final = "SELECT version, next_run_at FROM task_schedules WHERE id = %s"


def begin(held: Claimed, config: AgentConfig) -> None:
    """Let a cycle carry out the execution from now on; raises LostRace without its lease."""
    with connections.turn(), transaction.atomic():
        now = clock.now()
        deadline = holder.deadline_of(held, begins_at=now)
        queue = leases.hand_over(held, until=holder.lease_until(deadline))
        cycle = rows.of_execution(held.id)
        if cycle is None:
            cycle = _new(held, config, queue=queue, now=now, deadline=deadline)
            rows.insert(cycle)
        else:
            approving.check_approved(cycle, config)
            steps.plan_again(held.id)
            rows.take_over(cycle, token=held.lease_token, deadline=deadline, seen=_seen(held))
        has_place = places.take(cycle, held, config, deadline=deadline)
    events.announce()
    if has_place:
        try:
            places.start(cycle)
        except Exception:  # the lease is the cycle's: this attempt did not fail
            logger.exception("Cycle %s begins late: the watchdog goes on with it", cycle.id)


def _new(
    held: Claimed, config: AgentConfig, *, queue: str, now: datetime, deadline: datetime
) -> Cycle:
    version, next_run_at = _seen(held)
    return Cycle(
        id=ids.new(now),
        execution_id=held.id,
        schedule_id=held.schedule_id,
        owner_id=held.owner_id,
        token=held.lease_token,
        queue=queue,
        stage=CycleStage.WAIT,
        look_at=now + timedelta(seconds=env.rescue_seconds),
        deadline=deadline,
        concurrency=config.max_parallel,
        seen_version=version,
        seen_next_run_at=next_run_at,
    )


def _seen(held: Claimed) -> tuple[int, datetime | None]:
    with connection.cursor() as cursor:
        cursor.execute(SEEN, [held.schedule_id])
        row = cursor.fetchone()
    return row or (0, None)
