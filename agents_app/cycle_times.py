"""What became of the cycles of the last hour and how long they took: one statement for /metrics
and for the status of the whole.

It looks at the newest so many: what is asked of the database does not grow with what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agents_app.models import CycleStage
from executions_app import ids
from executions_app.metrics import LATELY, MOST_COUNTED, read

WHOLE: Final = "cycle"
"""Stands for all stages of a cycle together."""
IN_ORDER: Final = (*(stage.value for stage in CycleStage), WHOLE)
STATEMENT: Final = f"""
WITH recent AS (
    SELECT id, status, tier, timings FROM cycles
    WHERE id >= %(since)s AND status NOT IN ('running', 'waiting')
    ORDER BY id DESC LIMIT %(most)s
)
SELECT 'tier', tier, status, count(*), NULL, NULL, NULL FROM recent GROUP BY tier, status
UNION ALL
SELECT 'stage', t.key, '', count(*), avg(t.value::float8), sum(t.value::float8),
    (array_agg(t.value::float8 ORDER BY recent.id DESC))[1]
FROM recent CROSS JOIN LATERAL (
    SELECT key, value FROM jsonb_each_text(timings)
    UNION ALL SELECT '{WHOLE}', sum(value::float8)::text FROM jsonb_each_text(timings)
) AS t WHERE t.value IS NOT NULL GROUP BY t.key
"""  # noqa: S608  constants


@dataclass(frozen=True, slots=True)
class Times:
    """How long one stage took, or whole cycles; `last_ms`: in the newest cycle."""

    count: int
    last_ms: int
    mean_ms: int
    total_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How many by (tier, status), and the times by stage, WHOLE among them."""

    numbers: Mapping[tuple[str, str], int]
    times: Mapping[str, Times]


def ended_lately(now: datetime, *, most: int = MOST_COUNTED) -> Ended:
    """Of cycles that began within the last hour and have ended, the newest `most`."""
    numbers: dict[tuple[str, str], int] = {}
    times: dict[str, Times] = {}
    words = {"since": ids.floor(now - LATELY), "most": most}
    for kind, name, status, count, mean, total, last in read(STATEMENT, words):
        if kind == "tier":
            numbers[name, status] = count
        else:
            times[name] = Times(
                count, last_ms=round(last), mean_ms=round(mean), total_ms=round(total)
            )
    return Ended(numbers, {name: times[name] for name in IN_ORDER if name in times})
