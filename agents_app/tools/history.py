"""A tool of a step that looks back: what became of earlier executions of the same schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import JsonValue

from agents_app.tools.base import ToolContext, tool
from executions_app.models import Execution
from executions_app.scrub import storable_without_secrets
from executions_app.states import ExecutionStatus

MOST: Final = 20
RESULT_BYTES: Final = 2_000
STATUSES: Final[list[JsonValue]] = [one.value for one in ExecutionStatus]


@tool(
    "read_execution",
    description=(
        "The latest executions of this schedule, the newest first: status, outcome, instants and "
        "the beginning of the result."
    ),
    schema={
        "type": "object",
        "properties": {
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
            "status": {"enum": STATUSES},
        },
        "additionalProperties": False,
    },
    keywords=frozenset(
        {"execution", "executions", "history", "previous", "earlier", "last", "failed", "trend"}
    ),
    timeout_seconds=10.0,
)
def read_execution(arguments: Mapping[str, Any], context: ToolContext) -> JsonValue:
    """Those of the schedule of this very step, which belong to the same owner; without it, none."""
    if context.schedule_id is None:
        return []
    rows = Execution.objects.filter(
        schedule_id=context.schedule_id, owner_id=context.owner_id
    ).exclude(id=context.execution_id)
    if "status" in arguments:
        rows = rows.filter(status=arguments["status"])
    limit = arguments.get("limit", 5)
    return [_shown(one) for one in rows.order_by("-id")[:limit]]


def _shown(one: Execution) -> JsonValue:
    result, is_cut = storable_without_secrets(one.result, max_bytes=RESULT_BYTES)
    return {
        "number": one.number,
        "status": one.status,
        "outcome": one.outcome,
        "attempt": one.attempt,
        "started_at": _iso(one.started_at),
        "completed_at": _iso(one.completed_at),
        "result": result,
        "result_truncated": is_cut or one.result_truncated,
    }


def _iso(instant: datetime | None) -> str | None:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ") if instant else None
