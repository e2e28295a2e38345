"""Closes incidents whose schedule does its work again: a success, and then no error for a while.

One success proves little: a call that fails every third time would open and close its incident
with every run, and tell somebody each time. So an incident is resolved by itself only when an
execution of its schedule that began after the last error has completed, and no further error has
come for a quiet time since that error. Each reopening doubles the quiet time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction

from errors_app.incidents.telling import told
from errors_app.models_incidents import Incident
from executions_app import events, prepared

QUIET_SECONDS: Final = 60.0
LONGEST_QUIET_SECONDS: Final = 3_600.0
MOST_AT_ONCE: Final = 500

AWAITING: Final = "i.status IN ('open', 'acknowledged') AND i.recovers_at IS NULL"
WITH_SUCCESS: Final = f"""
SELECT i.id, n.began_at, n.completed_at
FROM incidents i JOIN unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[])
    AS n(schedule_id, began_at, completed_at) ON n.schedule_id = i.schedule_id
WHERE i.schedule_id = ANY(%s::uuid[]) AND {AWAITING} AND i.last_seen_at < n.began_at
"""  # noqa: S608  composed of constants of this module only, like the others
LOOKED_BACK: Final = 10  # executions: of a schedule that runs often, the next one comes soon
WITH_KNOWN_SUCCESS: Final = f"""
SELECT i.id, e.began_at, e.completed_at FROM (
    SELECT i.id, i.last_execution_id, i.schedule_id, i.last_seen_at FROM incidents i
    WHERE i.id = ANY(%s::uuid[]) AND {AWAITING} OFFSET 0
) AS i CROSS JOIN LATERAL (
    (SELECT completed_at AS began_at, completed_at FROM task_executions e
     WHERE e.id = i.last_execution_id
        AND CASE e.status WHEN 'completed' THEN e.completed_at > i.last_seen_at END)
    UNION ALL
    (SELECT started_at, completed_at FROM (
        SELECT status, started_at, completed_at FROM task_executions e
        WHERE e.schedule_id = i.schedule_id ORDER BY e.id DESC LIMIT {LOOKED_BACK}
     ) AS newest WHERE status = 'completed' AND started_at > i.last_seen_at)
    LIMIT 1
) AS e
"""  # noqa: S608
NOTE: Final = f"""
WITH input AS (
    SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[])
        AS n(id, began_at, completed_at)
), locked AS MATERIALIZED (
    SELECT id FROM incidents WHERE id = ANY(ARRAY(SELECT id FROM input)) ORDER BY key FOR UPDATE
)
UPDATE incidents i SET succeeded_at = n.completed_at, updated_at = now(),
    recovers_at = i.last_seen_at
        + least(%s, %s * power(2, least(i.reopened_count, 20))) * interval '1 second'
FROM input n
WHERE i.id = n.id AND i.id = ANY(ARRAY(SELECT id FROM locked))
    AND {AWAITING} AND i.last_seen_at < n.began_at
"""  # noqa: S608
RECOVER: Final = """
WITH due AS (
    SELECT id FROM incidents WHERE recovers_at <= now() ORDER BY recovers_at LIMIT %s
    FOR UPDATE SKIP LOCKED
)
UPDATE incidents SET status = 'resolved', resolved_at = succeeded_at, succeeded_at = NULL,
    recovers_at = NULL, updated_at = now()
WHERE id = ANY(ARRAY(SELECT id FROM due))
RETURNING id
"""


class Success(NamedTuple):
    """An execution that completed, of the schedule or incident `of`."""

    of: UUID | str
    began_at: datetime
    completed_at: datetime


def note_successes(successes: Sequence[Success]) -> None:
    """In the caller's transaction: these executions of schedules completed, at most one of each.

    One statement, and one more if an incident of theirs waits for that.
    """
    if successes:
        ids, began, completed = map(list, zip(*successes, strict=True))
        found = prepared.execute(WITH_SUCCESS, [ids, began, completed, ids]).fetchall()
        _note([Success(*row) for row in found])


def note_known_successes(incident_ids: Sequence[UUID]) -> None:
    """Successes that came before their incident was there.

    The execution that failed last has completed since, or one of the schedule's newest that began
    after it failed.
    """
    if incident_ids:
        found = prepared.execute(WITH_KNOWN_SUCCESS, [list(incident_ids)]).fetchall()
        _note([Success(*row) for row in found])


def _note(successes: Sequence[Success]) -> None:
    if successes:
        columns = [list(one) for one in zip(*successes, strict=True)]
        prepared.execute(NOTE, [*columns, LONGEST_QUIET_SECONDS, QUIET_SECONDS])


def recover_quiet(*, limit: int = MOST_AT_ONCE) -> int:
    """Resolve incidents whose quiet time is over; answers how many.

    They count as resolved since the success: an error that came later and is yet to be folded
    reopens them.
    """
    with transaction.atomic():
        recovered = [row[0] for row in prepared.execute(RECOVER, [limit]).fetchall()]
        rows = Incident.objects.filter(id__in=recovered).order_by("key") if recovered else []
        events.emit([told("incident:recovered", row) for row in rows])
    events.announce()
    return len(recovered)
