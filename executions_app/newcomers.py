"""What an execution is born with: the words of its row, before `lifecycle.create` stores it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from executions_app.states import ExecutionStatus


@dataclass(frozen=True, slots=True)
class NewExecution:
    """An execution to be recorded; `snapshot` is what the run needs of its schedule."""

    id: UUID
    schedule_id: UUID | None
    owner_id: int
    snapshot: Mapping[str, Any]
    trigger: str
    due_at: datetime
    priority: str
    max_attempts: int
    status: ExecutionStatus = ExecutionStatus.PENDING
    parameters: Mapping[str, Any] = field(default_factory=dict)
    nominal_at: datetime | None = None
    correlation_id: str = ""
    held_by: str = ""
    limit_key: str = ""
    unique_key: str = ""
    expires_at: datetime | None = None


def columns(rows: Sequence[NewExecution]) -> list[list[Any]]:
    """One list for each column that the statement takes, in its order."""
    return [
        [one.id for one in rows],
        [one.schedule_id for one in rows],
        [one.owner_id for one in rows],
        [json.dumps(one.snapshot) for one in rows],
        [one.trigger for one in rows],
        [json.dumps(one.parameters) for one in rows],
        [one.nominal_at for one in rows],
        [one.due_at for one in rows],
        [one.status.value for one in rows],
        [one.priority for one in rows],
        [one.max_attempts for one in rows],
        [one.correlation_id for one in rows],
        [one.held_by for one in rows],
        [one.limit_key for one in rows],
        [one.unique_key for one in rows],
        [one.expires_at for one in rows],
    ]
