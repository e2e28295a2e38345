"""How an agent's advice has fared: what its schedules let it decide, and what became of that.

Schedules, decisions and the runs after them belong to other floors, so they are read by SQL. What
is counted are the latest cycles of each agent, so a page of agents costs the same for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db import connection

from agents_app.models import Agent
from agents_app.planning.fallback_timing import BUDGET

LATEST: Final = 50
DECIDED: Final = ("adopted", "reverted", "refused", "superseded")
"""What ends a decision one way or the other; others wait, lapsed, or were only recorded."""
# A run went well if it is `completed` and all of it did; one that has not ended says nothing.
FIGURES: Final = f"""
WITH latest AS MATERIALIZED (
    SELECT a.id AS agent_id, c.schedule_id, c.decision_id
    FROM unnest(%(ids)s::uuid[]) AS a(id)
    CROSS JOIN LATERAL (
        SELECT schedule_id, decision_id FROM cycles
        WHERE agent_id = a.id AND (%(owner_id)s::int IS NULL OR owner_id = %(owner_id)s)
        ORDER BY id DESC LIMIT {LATEST}
    ) AS c
), decided AS (
    SELECT l.agent_id, d.status, after.status AS run, after.outcome
    FROM latest l JOIN schedule_decisions d ON d.id = l.decision_id AND d.source <> '{BUDGET}'
    LEFT JOIN LATERAL (
        SELECT e.status, e.outcome FROM task_executions e
        WHERE d.status = 'adopted' AND e.schedule_id = d.schedule_id AND e.id > d.id
        ORDER BY e.id LIMIT 1
    ) AS after ON true
)
SELECT agent_id, 'decisions', status, count(*),
    count(*) FILTER (WHERE run IN ('completed', 'failed')),
    count(*) FILTER (WHERE run = 'completed' AND outcome = 'ok')
FROM decided GROUP BY agent_id, status
UNION ALL
SELECT agent_id, 'autonomy', coalesce(s.task_config ->> 'autonomy', 'off'), count(*), 0, 0
FROM (SELECT DISTINCT agent_id, schedule_id FROM latest) AS worked_for
JOIN task_schedules s ON s.id = worked_for.schedule_id
GROUP BY 1, 3
"""  # noqa: S608  constants


@dataclass(slots=True)
class Score:
    """`autonomy` and `decisions` are numbers by word: of schedules, and of the latest decisions.

    Of the runs that came next after adopted ones, `followed` have ended and `well` went well.
    """

    autonomy: dict[str, int] = field(default_factory=dict)
    decisions: dict[str, int] = field(default_factory=dict)
    followed: int = 0
    well: int = 0

    @property
    def decided(self) -> int:
        return sum(self.decisions.get(one, 0) for one in DECIDED)

    @property
    def adopted(self) -> int:
        return self.decisions.get("adopted", 0)

    @property
    def others(self) -> list[tuple[str, int]]:
        """The decided ones that are not adopted (any more), by word."""
        return [(one, self.decisions[one]) for one in DECIDED[1:] if self.decisions.get(one)]


def of(agents: Sequence[Agent], *, owner_id: int | None) -> Mapping[UUID, Score]:
    """How these have fared, in one statement; with `owner_id` only in that user's executions."""
    found = {one.id: Score() for one in agents}
    if not found:
        return found
    with connection.cursor() as cursor:
        cursor.execute(FIGURES, {"ids": list(found), "owner_id": owner_id})
        for agent_id, what, word, number, followed, well in cursor.fetchall():
            score = found[agent_id]
            words = score.decisions if what == "decisions" else score.autonomy
            words[word] = number
            score.followed += followed
            score.well += well
    return found
