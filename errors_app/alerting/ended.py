"""Looks at what became of executions: letters, incidents, fires that were never run."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from errors_app.alerting.findings import SCHEDULE_FIRES, Finding, Scope, ask
from errors_app.alerting.kinds import (
    DeadLetters,
    IncidentOpened,
    Missed,
    at_least,
)
from executions_app import clock, ids
from executions_app.wording import iso

# New are those of the window; what fires goes on until its letters are decided about.
LETTERS: Final = """
SELECT schedule_id, min(owner_id), max(payload -> 'snapshot' ->> 'name'), count(*),
    (array_agg(message ORDER BY id DESC))[1]
FROM (
    SELECT one.* FROM unnest(%(firing_ids)s::uuid[]) AS k(id) CROSS JOIN LATERAL (
        SELECT id, schedule_id, owner_id, payload, message FROM dead_letters d
        WHERE d.schedule_id = k.id AND handling = '' AND {scope}
        ORDER BY d.id DESC LIMIT %(counted)s
    ) AS one
    UNION ALL (
        SELECT id, schedule_id, owner_id, payload, message FROM dead_letters
        WHERE 'none' = ANY(%(firing)s::text[]) AND schedule_id IS NULL AND handling = ''
            AND {scope} ORDER BY id DESC LIMIT %(counted)s
    ) UNION ALL SELECT * FROM (
        SELECT id, schedule_id, owner_id, payload, message FROM dead_letters
        WHERE handling = '' AND id >= %(since)s AND {scope} ORDER BY id DESC LIMIT 5000
    ) AS newest WHERE coalesce(schedule_id::text, 'none') <> ALL(%(firing)s::text[])
) AS found
GROUP BY schedule_id HAVING count(*) >= %(least)s
ORDER BY coalesce({fires}, 'none' = ANY(%(firing)s::text[])) DESC, schedule_id LIMIT {most}
"""
MISSED_FIRES: Final = """
SELECT f.schedule_id, s.owner_id, s.name, f.number, f.first_at
FROM (
    SELECT schedule_id, sum(count) AS number, min(nominal_at) AS first_at FROM (
        SELECT schedule_id, count, nominal_at FROM fire_records
        WHERE reason IN ('missed_coalesced', 'missed_too_old') AND id >= %(since)s
        ORDER BY id DESC LIMIT 10000
    ) AS newest GROUP BY schedule_id HAVING sum(count) >= %(least)s
) AS f JOIN task_schedules s ON s.id = f.schedule_id
WHERE {scope} ORDER BY f.schedule_id = ANY(%(firing_ids)s::uuid[]) DESC, f.schedule_id LIMIT {most}
"""
INCIDENTS: Final = """
SELECT id, owner_id, schedule_id, name, title, count, status FROM incidents
WHERE id = ANY(%(firing_ids)s::uuid[]) AND status <> 'resolved'
    AND severity = ANY(%(severities)s) AND {scope}
UNION ALL (
    SELECT id, owner_id, schedule_id, name, title, count, status FROM incidents
    WHERE status = 'open' AND severity = ANY(%(severities)s) AND {scope}
        AND id <> ALL(%(firing_ids)s::uuid[])
    ORDER BY id DESC LIMIT {most}
)
"""
MOST_LETTERS: Final = 100  # of what fires, unless the rule wants to count further


def dead_letters(wanted: DeadLetters, scope: Scope) -> list[Finding]:
    """Schedules with executions that were given up lately and wait for a person."""
    counted = max(MOST_LETTERS, wanted.min_letters)
    rows = ask(
        LETTERS.format(scope=scope.condition(), fires=SCHEDULE_FIRES, most=scope.most),
        {
            **scope.values,
            "since": since(wanted.window_ms),
            "least": wanted.min_letters,
            "counted": counted,
        },
    )
    return [
        Finding(
            key=str(schedule_id or "none"),
            message=f"{whose(name)}: {_how_many(number)} given up; the last: {_line(message)}",
            details={"dead_letters": number},
            schedule_id=schedule_id,
            owner_id=owner_id,
        )
        for schedule_id, owner_id, name, number, message in rows
    ]


def missed(wanted: Missed, scope: Scope) -> list[Finding]:
    """Schedules whose fires were found too late to be run."""
    rows = ask(
        MISSED_FIRES.format(scope=scope.condition("s", schedule="id"), most=scope.most),
        {**scope.values, "since": since(wanted.window_ms), "least": wanted.min_fires},
    )
    return [
        Finding(
            key=str(schedule_id),
            message=f"{whose(name)}: {number} fires were missed, the first of {iso(first_at)}",
            details={"missed": int(number), "first_at": first_at.isoformat()},
            schedule_id=schedule_id,
            owner_id=owner_id,
        )
        for schedule_id, owner_id, name, number, first_at in rows
    ]


def incident_opened(wanted: IncidentOpened, scope: Scope) -> list[Finding]:
    """Open incidents; what was told of one is over when it is, not when a person is at it."""
    rows = ask(
        INCIDENTS.format(scope=scope.condition(), most=scope.most),
        {**scope.values, "severities": at_least(wanted.min_severity)},
    )
    return [
        Finding(
            key=str(incident_id),
            message=f"{whose(name)}: {_line(title)}",
            details={"incident_id": str(incident_id), "errors": count},
            schedule_id=schedule_id,
            owner_id=owner_id,
            is_let_go=status == "ignored",
        )
        for incident_id, owner_id, schedule_id, name, title, count, status in rows
    ]


def since(window_ms: int) -> UUID:
    """The least id of a row that was made within this time."""
    return ids.floor(clock.now() - timedelta(milliseconds=window_ms))


def whose(name: str | None) -> str:
    """What a finding is about, by the name of its schedule."""
    return f"Schedule {name!r}" if name else "All schedules"


def _how_many(letters: int) -> str:
    return f"at least {letters}" if letters >= MOST_LETTERS else str(letters)


def _line(text: str) -> str:
    return (text.splitlines() or [""])[0][:200]
