"""What one look at executions finds, and how such a look asks the database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection

from executions_app.wording import duration

UUID_WORDS: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOOKED: Final = 1_000
"""New things that one look of a rule finds at most."""

SCHEDULE_FIRES: Final = "(schedule_id::text = ANY(%(firing)s::text[]))"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose executions a rule looks at; None is everybody's.

    `firing`: the keys of its alerts, which a look asks about whatever else it finds, so that it is
    known which of them are over.
    """

    schedule_id: UUID | None = None
    owner_id: int | None = None
    firing: Sequence[str] = ()

    @property
    def most(self) -> int:
        """The most findings of one look: what fires already takes nothing from what is new."""
        return len(self.firing) + LOOKED

    def condition(self, row: str = "", *, schedule: str = "schedule_id") -> str:
        """The SQL condition beside `values`; `row` is the alias, if there is one."""
        prefix = f"{row}." if row else ""
        parts = []
        if self.schedule_id is not None:
            parts.append(f"{prefix}{schedule} = %(schedule_id)s")
        if self.owner_id is not None:
            parts.append(f"{prefix}owner_id = %(owner_id)s")
        return " AND ".join(parts) or "true"

    @property
    def values(self) -> dict[str, Any]:
        return {
            "schedule_id": self.schedule_id,
            "owner_id": self.owner_id,
            "firing": list(self.firing),
            "firing_ids": [one for one in self.firing if UUID_WORDS.fullmatch(one)],
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; `key` names it among those of its rule.

    `is_let_go`: it is still so, but a person wants to hear no more of it.
    """

    key: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    schedule_id: UUID | None = None
    owner_id: int | None = None
    is_let_go: bool = False


def ask(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def span(milliseconds: float) -> str:
    """A time in words."""
    return duration(timedelta(milliseconds=int(milliseconds)))
