"""Folds errors of executions into incidents: whoever fails only appends, and a beat counts later.

A thousand workers that fail at once so never wait for one row. Any number of beats may fold: each
takes errors that nobody else has taken, and counts, marks and tells of them in one transaction.
Incidents are locked in the order of their keys, here and wherever several are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction

from errors_app import taxonomy
from errors_app.incidents import recovering
from errors_app.incidents.telling import told
from errors_app.models_incidents import Incident
from executions_app import events, prepared
from executions_app.database_errors import despite_deadlocks

MOST_AT_ONCE: Final = 1_000
LONGEST_TITLE: Final = 200

SEVERITIES: Final = "ARRAY['low', 'medium', 'high', 'critical']"
LATER: Final = "excluded.last_seen_at >= i.last_seen_at"
REOPENS: Final = "i.status = 'resolved' AND excluded.last_seen_at > i.resolved_at"
IS_OVER: Final = "excluded.last_seen_at > i.succeeded_at"  # the success before it says nothing now
TAKEN: Final = f"""
taken AS MATERIALIZED (
    SELECT id, owner_id, schedule_id, execution_id, fingerprint, error_class, exception_type,
        message, severity, ended_at, context->>'name' AS name,
        coalesce(owner_id::text, '') || ':' || coalesce(schedule_id::text, '') || ':'
            || fingerprint AS key
    FROM error_records
    -- Ids alone are sorted, however many errors wait; the CASE lets them be found by no state.
    WHERE id = ANY(ARRAY(
        SELECT id FROM error_records WHERE incident_id IS NULL ORDER BY id LIMIT %s
    )) AND CASE WHEN incident_id IS NULL THEN true END
    ORDER BY id FOR UPDATE SKIP LOCKED
), grouped AS MATERIALIZED (
    SELECT key, cadenza_uuid7() AS id, count(*) AS number, min(ended_at) AS first_seen_at,
        max(ended_at) AS last_seen_at,
        (array_agg(id ORDER BY ended_at, id))[1] AS first_id,
        (array_agg(id ORDER BY ended_at DESC, id DESC))[1] AS last_id,
        max(array_position({SEVERITIES}, severity)) AS severity
    FROM taken GROUP BY key
), seen AS MATERIALIZED (
    SELECT g.key, locked.status FROM (SELECT key FROM grouped ORDER BY key) g CROSS JOIN LATERAL (
        SELECT status FROM incidents i WHERE i.key = g.key FOR UPDATE
    ) AS locked
)"""  # noqa: S608  composed of constants of this module only, like what follows
FOLDED: Final = f"""
folded AS (
    INSERT INTO incidents AS i (
        id, key, owner_id, schedule_id, name, fingerprint, error_class, exception_type, title,
        severity, status, first_seen_at, last_seen_at, count, last_error_id, last_execution_id,
        reopened_count, note, created_at, updated_at
    )
    SELECT g.id, g.key, last.owner_id, last.schedule_id, coalesce(last.name, ''),
        last.fingerprint, last.error_class, last.exception_type, first.message,
        ({SEVERITIES})[g.severity], 'open', g.first_seen_at, g.last_seen_at, g.number, last.id,
        last.execution_id, 0, '', now(), now()
    -- `seen` is no more than waited for: its locks are to be had before anything is written.
    FROM grouped g JOIN taken first ON first.id = g.first_id JOIN taken last ON last.id = g.last_id
        LEFT JOIN seen ON seen.key = g.key
    ORDER BY g.key
    ON CONFLICT (key) DO UPDATE SET
        count = i.count + excluded.count,
        first_seen_at = least(i.first_seen_at, excluded.first_seen_at),
        last_seen_at = greatest(i.last_seen_at, excluded.last_seen_at),
        last_error_id = CASE WHEN {LATER} THEN excluded.last_error_id ELSE i.last_error_id END,
        last_execution_id =
            CASE WHEN {LATER} THEN excluded.last_execution_id ELSE i.last_execution_id END,
        name = CASE WHEN {LATER} THEN excluded.name ELSE i.name END,
        severity = ({SEVERITIES})[greatest(
            array_position({SEVERITIES}, i.severity),
            array_position({SEVERITIES}, excluded.severity)
        )],
        status = CASE WHEN {REOPENS} THEN 'open' ELSE i.status END,
        resolved_at = CASE WHEN {REOPENS} THEN NULL ELSE i.resolved_at END,
        reopened_count = i.reopened_count + (CASE WHEN {REOPENS} THEN 1 ELSE 0 END),
        reopened_at = CASE WHEN {REOPENS} THEN now() ELSE i.reopened_at END,
        succeeded_at = CASE WHEN {IS_OVER} THEN NULL ELSE i.succeeded_at END,
        recovers_at = CASE WHEN {IS_OVER} THEN NULL ELSE i.recovers_at END,
        updated_at = now()
    RETURNING i.id, i.key, i.status, i.title
)"""  # noqa: S608
FOLD: Final = f"""
WITH {TAKEN}, {FOLDED}, marked AS (
    UPDATE error_records r SET incident_id = f.id FROM taken t JOIN folded f ON f.key = t.key
    WHERE r.id = t.id AND r.id = ANY(ARRAY(SELECT id FROM taken))
), counted AS (
    INSERT INTO incident_buckets AS b (incident_id, hour, count)
    SELECT f.id, date_trunc('hour', t.ended_at, 'UTC') AS hour, count(*)
    FROM taken t JOIN folded f ON f.key = t.key GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (incident_id, hour) DO UPDATE SET count = b.count + excluded.count
)
SELECT f.id, g.number, f.id = g.id, coalesce(seen.status = 'resolved' AND f.status = 'open', false),
    f.title
FROM folded f JOIN grouped g ON g.key = f.key LEFT JOIN seen ON seen.key = f.key
"""  # noqa: S608
ENTITLE: Final = """
UPDATE incidents i SET title = n.title FROM unnest(%s::uuid[], %s::text[]) AS n(id, title)
WHERE i.id = n.id
"""


@dataclass(frozen=True, slots=True)
class Folded:
    """An incident and how many errors came to it."""

    id: UUID
    number: int
    is_new: bool
    is_reopened: bool
    title: str


def fold(*, limit: int = MOST_AT_ONCE) -> int:
    """Fold up to `limit` errors that are in no incident yet; answers how many there were."""
    folded = despite_deadlocks(partial(_fold, limit))
    events.announce()
    # An attempt that came right meanwhile was counted as a success before its incident was there.
    recovering.note_own_successes([one.id for one in folded])
    return sum(one.number for one in folded)


def _fold(limit: int) -> list[Folded]:
    with transaction.atomic():
        folded = [Folded(*row) for row in prepared.execute(FOLD, [limit]).fetchall()]
        _entitle([one for one in folded if one.is_new])
        _tell(folded)
    return folded


def _entitle(new: Sequence[Folded]) -> None:
    """What the first error said, without its numbers: that is the same for all that follow."""
    if new:
        titles = [taxonomy.normalised(one.title)[:LONGEST_TITLE] for one in new]
        prepared.execute(ENTITLE, [[one.id for one in new], titles])


def _tell(folded: Sequence[Folded]) -> None:
    types = {one.id: "incident:opened" for one in folded if one.is_new}
    types |= {one.id: "incident:reopened" for one in folded if one.is_reopened}
    if types:
        rows = Incident.objects.filter(id__in=types).order_by("key")
        events.emit([told(types[row.id], row) for row in rows])
