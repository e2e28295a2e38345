"""Ends incidents whose schedule is gone: no success of it will ever do so.

Who deletes a schedule resolves its incidents (`deciding.resolve_of_schedule`). What was under way
then can fail afterwards, and errors that were not counted yet become incidents later: these are
ended here, once nothing of the schedule is under way any more. A dead letter that somebody requeues
and that fails again opens its incident again, like any other.
"""

from __future__ import annotations

import time
from typing import Final

from django.db import transaction

from errors_app.incidents import deciding
from errors_app.models_incidents import Incident
from executions_app import events, prepared
from executions_app.audit import SYSTEM

EACH_SECONDS: Final = 600.0
MOST_AT_ONCE: Final = 500
NOTE: Final = "its schedule is gone, and nothing of it is under way"
# Along the index of what waits for a success: incidents that are open are few beside all.
GONE: Final = """
SELECT i.id FROM incidents i
WHERE i.status IN ('open', 'acknowledged') AND i.recovers_at IS NULL AND i.schedule_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM task_schedules s WHERE s.id = i.schedule_id)
    AND NOT EXISTS (
        SELECT FROM task_executions e WHERE e.schedule_id = i.schedule_id
            AND e.status IN ('pending', 'queued', 'running', 'waiting')
    )
ORDER BY i.key LIMIT %s FOR UPDATE OF i SKIP LOCKED
"""


class _Seldom:
    again_at = 0.0


def is_time() -> bool:
    """Whether this process looks for them again: when it begins, then every ten minutes."""
    return time.monotonic() >= _Seldom.again_at


def resolve(*, limit: int = MOST_AT_ONCE) -> int:
    """Resolve up to `limit` incidents of schedules that are gone; answers how many there were."""
    with transaction.atomic():
        found = [row[0] for row in prepared.execute(GONE, [limit]).fetchall()]
        rows = Incident.objects.filter(id__in=found).order_by("key") if found else []
        deciding.resolve_each(rows, actor=SYSTEM, note=NOTE)
    events.announce()
    if len(found) < limit:
        _Seldom.again_at = time.monotonic() + EACH_SECONDS
    return len(found)
