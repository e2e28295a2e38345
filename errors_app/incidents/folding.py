"""Folds errors of executions into incidents: whoever fails only appends, and a beat counts later.

A thousand workers that fail at once so never wait for one row. Any number of beats may fold: each
takes errors that nobody else has taken, and counts, marks and tells of them in one transaction.
Incidents are locked in the order of their keys, here and wherever several are.

A schedule whose messages differ each time would fill the list: once MOST_OPEN incidents of one
class are open, further kinds of errors are one incident, its others. What is older than a day when
it is folded (an upgrade, a long outage of all beats) is no news, nor is what an execution got over
by itself: it makes a resolved incident, and nobody is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction

from errors_app import likeness
from errors_app.incidents import recovering
from errors_app.incidents.lately import BEGINNING
from errors_app.incidents.telling import told
from errors_app.models_incidents import Incident
from executions_app import events, prepared
from executions_app.database_errors import despite_deadlocks

MOST_AT_ONCE: Final = 1_000
LONGEST_TITLE: Final = 200
MOST_OPEN: Final = 50  # of one schedule and class; several beats at once may make a few more
OTHERS: Final = "others"

SEVERITIES: Final = "ARRAY['low', 'medium', 'high', 'critical']"
LATER: Final = "excluded.last_seen_at >= i.last_seen_at"
OLD: Final = "interval '1 day'"
REOPENS: Final = """i.status = 'resolved' AND excluded.status = 'open'
            AND excluded.last_seen_at > i.resolved_at"""
IS_OVER: Final = "excluded.last_seen_at > i.succeeded_at"  # the success before it says nothing now
KEYED: Final = f"""
held AS MATERIALIZED (
    SELECT id, owner_id, schedule_id, execution_id, fingerprint, error_class, exception_type,
        message, severity, ended_at, context->>'name' AS name,
        attempt = 0 AND execution_id IS NOT NULL AS is_survived,
        coalesce(owner_id::text, '') || ':' || coalesce(schedule_id::text, '') || ':' AS whose
    FROM error_records
    -- Ids alone are sorted, however many errors wait; the CASE lets them be found by no state.
    WHERE id = ANY(ARRAY(
        SELECT id FROM error_records WHERE incident_id IS NULL AND id >= %s ORDER BY id LIMIT %s
    )) AND CASE WHEN incident_id IS NULL THEN true END
    ORDER BY id FOR UPDATE SKIP LOCKED
), unknown AS MATERIALIZED (
    SELECT whose, owner_id, schedule_id, error_class, fingerprint,
        row_number() OVER (PARTITION BY whose, error_class ORDER BY fingerprint) AS place
    FROM (SELECT DISTINCT whose, owner_id, schedule_id, error_class, fingerprint FROM held) AS kind
    WHERE NOT EXISTS (SELECT FROM incidents i WHERE i.key = kind.whose || kind.fingerprint)
), crowded AS MATERIALIZED (
    SELECT u.whose, u.error_class, u.fingerprint FROM unknown u JOIN (
        SELECT k.whose, k.error_class, CASE WHEN k.schedule_id IS NULL THEN (
            SELECT count(*) FROM (
                SELECT FROM incidents i WHERE i.status = 'open' AND i.schedule_id IS NULL
                    AND i.error_class = k.error_class
                    AND i.owner_id IS NOT DISTINCT FROM k.owner_id LIMIT {MOST_OPEN}
            ) AS nobodys
        ) ELSE (
            SELECT count(*) FROM (
                SELECT FROM incidents i WHERE i.status = 'open' AND i.schedule_id = k.schedule_id
                    AND i.error_class = k.error_class LIMIT {MOST_OPEN}
            ) AS of_schedule
        ) END AS open
        FROM unknown k WHERE k.place = 1
    ) AS n ON n.whose = u.whose AND n.error_class = u.error_class
    WHERE n.open + u.place > {MOST_OPEN}
), taken AS MATERIALIZED (
    SELECT h.*, c.whose IS NOT NULL AS is_other,
        h.whose || coalesce(c.error_class || ':{OTHERS}', h.fingerprint) AS key
    FROM held h LEFT JOIN crowded c ON c.whose = h.whose AND c.error_class = h.error_class
        AND c.fingerprint = h.fingerprint
)"""  # noqa: S608  composed of constants of this module only, like what follows
TAKEN: Final = f"""
{KEYED}, grouped AS MATERIALIZED (
    SELECT key, cadenza_uuid7() AS id, count(*) AS number, min(ended_at) AS first_seen_at,
        max(ended_at) AS last_seen_at,
        (array_agg(id ORDER BY ended_at, id))[1] AS first_id,
        (array_agg(id ORDER BY ended_at DESC, id DESC))[1] AS last_id,
        max(array_position({SEVERITIES}, severity)) AS severity,
        max(ended_at) < now() - {OLD} OR bool_and(is_survived) AS is_no_news
    FROM taken GROUP BY key
), seen AS MATERIALIZED (
    SELECT g.key, locked.status FROM (SELECT key FROM grouped ORDER BY key) g CROSS JOIN LATERAL (
        SELECT status FROM incidents i WHERE i.key = g.key FOR UPDATE
    ) AS locked
)"""  # noqa: S608
FOLDED: Final = f"""
folded AS (
    INSERT INTO incidents AS i (
        id, key, owner_id, schedule_id, name, fingerprint, error_class, exception_type, title,
        severity, status, resolved_at, first_seen_at, last_seen_at, count, last_error_id,
        last_execution_id, reopened_count, note, created_at, updated_at
    )
    SELECT g.id, g.key, last.owner_id, last.schedule_id, coalesce(last.name, ''),
        CASE WHEN last.is_other THEN '{OTHERS}' ELSE last.fingerprint END, last.error_class,
        CASE WHEN last.is_other THEN '' ELSE last.exception_type END, first.message,
        ({SEVERITIES})[g.severity], CASE WHEN g.is_no_news THEN 'resolved' ELSE 'open' END,
        CASE WHEN g.is_no_news THEN g.last_seen_at END, g.first_seen_at, g.last_seen_at, g.number,
        last.id, last.execution_id, 0, '', now(), now()
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
        resolved_at = CASE WHEN {REOPENS} THEN NULL WHEN i.status = 'resolved'
            THEN greatest(i.resolved_at, excluded.resolved_at) ELSE i.resolved_at END,
        reopened_count = i.reopened_count + (CASE WHEN {REOPENS} THEN 1 ELSE 0 END),
        reopened_at = CASE WHEN {REOPENS} THEN now() ELSE i.reopened_at END,
        succeeded_at = CASE WHEN {IS_OVER} THEN NULL ELSE i.succeeded_at END,
        recovers_at = CASE WHEN {IS_OVER} THEN NULL ELSE i.recovers_at END,
        updated_at = now()
    RETURNING i.id, i.key, i.status, i.fingerprint, i.error_class, i.title
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
SELECT f.id, g.number, f.id = g.id, f.status = 'open', coalesce(seen.status = 'resolved', false),
    f.fingerprint, f.error_class, f.title
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
    is_open: bool
    was_resolved: bool
    fingerprint: str
    error_class: str
    title: str


def fold(*, limit: int = MOST_AT_ONCE, since: UUID = BEGINNING) -> int:
    """Fold up to `limit` errors, of this id or later, that are in no incident yet.

    Answers how many there were.
    """
    folded = despite_deadlocks(partial(_fold, limit, since))
    events.announce()
    # Whoever counts successes does not see an incident that is not committed: looked at once more.
    recovering.note_known_successes([one.id for one in folded])
    return sum(one.number for one in folded)


def _fold(limit: int, since: UUID) -> list[Folded]:
    with transaction.atomic():
        folded = [Folded(*row) for row in prepared.execute(FOLD, [since, limit]).fetchall()]
        _entitle([one for one in folded if one.is_new])
        _tell(folded)
        # What came right meanwhile was counted as a success before its incident was there.
        recovering.note_known_successes([one.id for one in folded])
    return folded


def _entitle(new: Sequence[Folded]) -> None:
    """What the first error said, without its numbers: that is the same for all that follow."""
    if new:
        prepared.execute(ENTITLE, [[one.id for one in new], [_title(one) for one in new]])


def _title(one: Folded) -> str:
    if one.fingerprint == OTHERS:
        return f"Other errors of class {one.error_class}: {MOST_OPEN} incidents of it are open"
    return likeness.titled(one.title)[:LONGEST_TITLE]


def _tell(folded: Sequence[Folded]) -> None:
    types = {one.id: "incident:opened" for one in folded if one.is_new and one.is_open}
    types |= {one.id: "incident:reopened" for one in folded if one.was_resolved and one.is_open}
    if types:
        rows = Incident.objects.filter(id__in=types).order_by("key")
        events.emit([told(types[row.id], row) for row in rows])
