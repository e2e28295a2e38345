"""Which events one client wants and may see: filters over what the ledger recorded, pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from executions_app.events import Recorded

FOR_EVERYBODY: Final = frozenset({"scheduler:status"})
Names = Annotated[
    frozenset[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=500)
]


class Subscription(BaseModel):
    """What a client asked for; an empty list asks for everything of its kind.

    Kinds are joined by "and", the names within one by "or". `executions` takes ids or numbers,
    `schedules` ids, `agents` names, `types` event types.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    severities: Names = frozenset()
    schedules: Names = frozenset()
    agents: Names = frozenset()
    executions: Names = frozenset()
    types: Names = frozenset()

    def wants(self, event: Recorded) -> bool:
        """True if every kind that was named matches."""
        number = event.data.get("number")
        return (
            _matches(self.types, event.type)
            and _matches(self.severities, event.severity)
            and _matches(self.schedules, event.schedule_id)
            and _matches(self.executions, event.execution_id, number)
            and _matches(self.agents, event.data.get("agent"))
        )


@dataclass(frozen=True, slots=True)
class Viewer:
    """The person behind a connection, as far as the feed cares."""

    user_id: int
    sees_all: bool

    def may_see(self, event: Recorded) -> bool:
        """One's own events and the system's state; everything for a superuser."""
        if self.sees_all or event.type in FOR_EVERYBODY:
            return True
        return event.owner_id == self.user_id


def _matches(names: frozenset[str], *values: object) -> bool:
    return not names or any(str(value) in names for value in values if value is not None)
