"""How long the latest executions of schedules took, as recorded; for those who look ahead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import connection

LOOKED_AT: Final = 50
DURATIONS: Final = """
SELECT s.id, array_agg(e.ms ORDER BY e.id)
FROM unnest(%s::uuid[]) AS s(id) CROSS JOIN LATERAL (
    SELECT id, extract(epoch FROM completed_at - started_at)::float8 * 1000 AS ms
    FROM task_executions
    WHERE schedule_id = s.id AND status IN ('completed', 'failed') AND started_at IS NOT NULL
    ORDER BY id DESC LIMIT %s
) AS e
GROUP BY s.id
"""


def durations(schedule_ids: Sequence[UUID]) -> dict[UUID, list[timedelta]]:
    """The durations of the last LOOKED_AT ended executions of each schedule, the oldest first.

    Schedules without any are left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(DURATIONS, [list(schedule_ids), LOOKED_AT])
        return {
            row[0]: [timedelta(milliseconds=max(0.0, ms)) for ms in row[1]]
            for row in cursor.fetchall()
        }


def at(durations_: Sequence[timedelta], share: float) -> timedelta:
    """What this share of the durations did not exceed; there must be some."""
    ordered = sorted(durations_)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
