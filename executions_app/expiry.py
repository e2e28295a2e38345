"""The end of an execution that was not started in time: `cancelled`, outcome `expired`.

The claim refuses what has expired, so this may come late; it only writes the end down.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction

from executions_app import events, prepared, statements
from executions_app.states import Outcome

# What was tried once has started in time, whatever became of it.
EXPIRED: Final = """
SELECT id FROM task_executions
WHERE status IN ('pending', 'queued') AND expires_at <= now() AND attempt = 0
ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
"""
MOST: Final = 500


def sweep(*, limit: int = MOST) -> int:
    """End up to `limit` executions whose time to start has passed; answers how many."""
    with transaction.atomic():
        ids = [row[0] for row in prepared.execute(EXPIRED, [limit]).fetchall()]
        if ids:
            prepared.execute(statements.END_UNSTARTED, [ids, Outcome.EXPIRED.value])
    if ids:
        events.announce()
    return len(ids)
