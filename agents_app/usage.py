"""What the models that executions asked have used: tokens and money, summed from the calls' rows.

Every sum is made of `model_calls`, failed calls included; what a cycle stores of itself is such a
sum, too, and `recount` makes it one again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

from django.db import connection

from executions_app import ids

By = Literal["day", "model", "provider", "phase", "schedule", "cycle", "execution", "agent"]
GROUPS: Final[dict[str, str]] = {
    "day": "to_char(date_trunc('day', created_at AT TIME ZONE 'UTC'), 'YYYY-MM-DD')",
    "model": "model",
    "provider": "provider",
    "phase": "phase",
    "schedule": "coalesce(schedule_id::text, '')",
    "cycle": "coalesce(cycle_id::text, '')",
    "execution": "coalesce(execution_id::text, '')",
    "agent": "coalesce(agent_id::text, '')",
}
MOST_GROUPS: Final = 1_000
SUMS: Final = """
    count(*), count(*) FILTER (WHERE status = 'failed'),
    count(*) FILTER (WHERE status = 'malformed'), count(*) FILTER (WHERE is_estimated),
    coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), coalesce(sum(cost_usd), 0)
"""
RECOUNT: Final = """
UPDATE cycles AS c SET prompt_tokens = s.prompt, completion_tokens = s.completion,
    cost_usd = s.usd, updated_at = now()
FROM (
    SELECT k.id, coalesce(sum(m.prompt_tokens), 0) AS prompt,
        coalesce(sum(m.completion_tokens), 0) AS completion, coalesce(sum(m.cost_usd), 0) AS usd
    FROM (
        SELECT id, execution_id FROM cycles WHERE schedule_id = %(schedule_id)s
            AND status <> 'running'
        ORDER BY id FOR UPDATE
    ) AS k LEFT JOIN model_calls AS m ON m.execution_id = k.execution_id AND m.cycle_id = k.id
    GROUP BY k.id
) AS s
WHERE c.id = s.id
    AND (c.prompt_tokens, c.completion_tokens, c.cost_usd) <> (s.prompt, s.completion, s.usd)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """The calls that are summed: those for which all that is given holds."""

    schedule_id: UUID | None = None
    execution_id: UUID | None = None
    cycle_id: UUID | None = None
    agent_id: UUID | None = None
    owner_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def condition(self) -> tuple[str, dict[str, Any]]:
        """SQL and its values."""
        names = ("schedule_id", "execution_id", "cycle_id", "agent_id", "owner_id")
        values: dict[str, Any] = {
            name: getattr(self, name) for name in names if getattr(self, name) is not None
        }
        parts = [f"{name} = %({name})s" for name in values]
        if self.since is not None:
            values["since"] = ids.floor(self.since)
            parts.append("id >= %(since)s")
        if self.until is not None:
            values["until"] = ids.floor(self.until)
            parts.append("id < %(until)s")
        return " AND ".join(parts) or "true", values


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over calls; `estimated` are those whose provider reported no usage."""

    calls: int
    failed: int
    malformed: int
    estimated: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "failed": self.failed,
            "malformed": self.malformed,
            "estimated": self.estimated,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.tokens,
            "cost_usd": self.cost_usd,
        }


@dataclass(frozen=True, slots=True)
class Group:
    """The sums of the calls that have `key` in common."""

    key: str
    totals: Totals

    def as_json(self) -> dict[str, Any]:
        return {"key": self.key, **self.totals.as_json()}


def totals(which: Which) -> Totals:
    """The sums of all of these calls."""
    condition, values = which.condition()
    (row,) = _rows(f"SELECT {SUMS} FROM model_calls WHERE {condition}", values)  # noqa: S608  constants
    return _totals(row)


def grouped(which: Which, *, by: By) -> list[Group]:
    """The sums by what the calls have in common: days the newest first, else the dearest first.

    At most 1,000 of them.
    """
    condition, values = which.condition()
    order = "1 DESC" if by == "day" else "8 DESC, 6 + 7 DESC, 1"
    statement = f"""
        SELECT key, n, failed, malformed, estimated, prompt, completion, usd FROM (
            SELECT {GROUPS[by]}, {SUMS} FROM model_calls WHERE {condition} GROUP BY 1
        ) AS found (key, n, failed, malformed, estimated, prompt, completion, usd)
        ORDER BY {order} LIMIT {MOST_GROUPS}
    """  # noqa: S608  constants
    return [Group(row[0], _totals(row[1:])) for row in _rows(statement, values)]


def recount(schedule_id: UUID) -> int:
    """Store with each ended cycle of a schedule what its calls have used; how many were corrected.

    A running cycle counts for itself.
    """
    with connection.cursor() as cursor:
        cursor.execute(RECOUNT, {"schedule_id": schedule_id})
        return int(cursor.rowcount)


def _totals(row: tuple[Any, ...]) -> Totals:
    calls, failed, malformed, estimated, prompt, completion = (int(one) for one in row[:6])
    return Totals(calls, failed, malformed, estimated, prompt, completion, Decimal(row[6]))


def _rows(statement: str, values: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        yield from cursor.fetchall()
