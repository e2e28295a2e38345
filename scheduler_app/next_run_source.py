"""Where the next run of a schedule comes from: its rule, or a decision of the AI that is in force.

That a spent budget has put it off is no decision of an AI: the rule says when it goes on.

Nothing of this stands on the schedule. It is asked for where a person looks, and only of schedules
that an AI works for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from django.db import connection

from agents_app.planning.fallback_timing import BUDGET
from scheduler_app.clamping import as_text
from scheduler_app.models import Schedule

AGENT: Final = "agent"
NEWEST: Final = 100
"""So many of the newest decisions of a schedule are looked at."""
IN_FORCE: Final = f"""
SELECT s.id, found.id FROM unnest(%s::uuid[], %s::text[]) AS s(id, next_run_at)
CROSS JOIN LATERAL (
    SELECT d.id, d.status, d.clamped, d.source FROM schedule_decisions d
    WHERE d.schedule_id = s.id ORDER BY d.id DESC LIMIT {NEWEST}
) AS found
WHERE found.status = 'adopted' AND found.source <> '{BUDGET}'
    AND found.clamped->>'next_run_at' = s.next_run_at
ORDER BY found.id
"""  # noqa: S608  composed of constants of this module only


def decisions(schedules: Iterable[Schedule]) -> dict[UUID, UUID]:
    """Of each schedule whose next run was decided by an AI: the id of that decision."""
    asked = [one for one in schedules if one.task_type == AGENT and one.next_run_at is not None]
    if not asked:
        return {}
    moments = [as_text(one.next_run_at) for one in asked if one.next_run_at is not None]
    with connection.cursor() as cursor:
        cursor.execute(IN_FORCE, [[one.id for one in asked], moments])
        return dict(cursor.fetchall())  # the newest of several is the last


def document(schedule: Schedule, decided: Mapping[UUID, UUID]) -> dict[str, Any] | None:
    """As REST shows it; None where there is no next run."""
    if schedule.next_run_at is None:
        return None
    decision_id = decided.get(schedule.id)
    kind = "rule" if decision_id is None else "decision"
    return {"kind": kind, "decision_id": None if decision_id is None else str(decision_id)}


def words(schedule: Schedule, decision_id: UUID | None) -> str:
    """The same for people."""
    if schedule.next_run_at is None:
        return "none"
    return "by its rule" if decision_id is None else f"by the AI's decision {decision_id}"
