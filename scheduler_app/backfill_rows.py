"""Writes the fires and executions of a backfill, in the transaction that moves its cursor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from django.db import connection

from executions_app import events, ids, lifecycle, partitions
from executions_app.states import Trigger
from scheduler_app import fires
from scheduler_app.limiting import key_templates
from scheduler_app.limiting.labels import Labels
from scheduler_app.models import Schedule
from scheduler_app.policies import FireReason

INSTANT: Final = timedelta(microseconds=1)
RECORD: Final = f"""
INSERT INTO fire_records (id, schedule_id, nominal_at, cause, count, reason, execution_id,
                          lateness_ms, created_at)
SELECT execution_id, %s, nominal_at, %s, 1, '{FireReason.DISPATCHED}', execution_id,
    greatest(0, extract(epoch FROM now() - nominal_at) * 1000), now()
FROM unnest(%s::uuid[], %s::timestamptz[]) AS f(execution_id, nominal_at)
ON CONFLICT (schedule_id, nominal_at, cause) DO NOTHING
RETURNING nominal_at, execution_id
"""  # noqa: S608  composed of a constant


def write(
    schedule: Schedule,
    nominals: Sequence[datetime],
    *,
    cause: str,
    correlation_id: str,
    now: datetime,
) -> int:
    """One execution for each instant that has none by this cause; answers how many were made.

    They wait for nothing but limits: distinct fires are no duplicates of one another and do not
    grow stale. As with other fires by time, nobody has given values for a key.
    """
    if not nominals:
        return 0
    partitions.ensure(partitions.FIRE_RECORDS, nominals, now=now)
    new_ids = list(islice(ids.stream(now), len(nominals)))
    with connection.cursor() as cursor:
        cursor.execute(RECORD, [schedule.id, cause, new_ids, list(nominals)])
        recorded = sorted(cursor.fetchall())
    limit_key = key_templates.render_known(schedule.limit_key, schedule.task_config)
    made = [
        fires.new_execution(
            schedule,
            execution_id,
            trigger=Trigger.BACKFILL,
            due_at=now - (len(recorded) - place) * INSTANT,  # in the order of their instants
            nominal_at=nominal_at,
            correlation_id=correlation_id,
            born_with=Labels(limit_key),
        )
        for place, (nominal_at, execution_id) in enumerate(recorded)
    ]
    lifecycle.create(made)
    events.announce()
    return len(made)
