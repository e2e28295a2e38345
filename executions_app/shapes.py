"""An execution as REST and the commands show it: one shape, made in one place."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from executions_app.models import Execution
from executions_app.wording import percent

MILLISECOND: Final = timedelta(milliseconds=1)
NO_PROGRESS: Final = {"done": 0, "total": 0, "failed": 0, "percent": 0, "current_step": ""}


def execution(row: Execution) -> dict[str, Any]:
    """The REST object of one execution; instants stay instants for the encoder."""
    return {
        "id": row.id,
        "number": row.number,
        "schedule": {"id": row.schedule_id, "name": row.snapshot.get("name")},
        "trigger": row.trigger,
        "status": row.status,
        "outcome": row.outcome or None,
        "task_type": row.snapshot.get("task_type"),
        "priority": row.priority,
        "parameters": row.parameters,
        "nominal_at": row.nominal_at,
        "due_at": row.due_at,
        "queued_at": row.queued_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "duration_ms": _milliseconds(row.started_at, row.completed_at),
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "worker": worker(row.worker_id),
        "progress": progress(row),
        "cancel_requested": row.cancel_requested_at is not None,
        "held_by": row.held_by or None,
        "limit_key": row.limit_key or None,
        "unique_key": row.unique_key or None,
        "expires_at": row.expires_at,
        **_ending(row),
    }


def _ending(row: Execution) -> dict[str, Any]:
    """What its last attempt left behind."""
    return {
        "result": row.result,
        "result_truncated": row.result_truncated,
        "usage": row.usage,
        "last_error_id": row.last_error_id,
        "dead_letter_at": row.dead_letter_at,
    }


def worker(worker_id: str) -> dict[str, Any] | None:
    """Who runs or ran it, from the worker's unique name `host:pid:instance`; None for nobody."""
    if not worker_id:
        return None
    host, _, rest = worker_id.partition(":")
    pid = rest.partition(":")[0]
    return {"id": worker_id, "host": host, "pid": int(pid) if pid.isdecimal() else None}


def progress(row: Execution) -> dict[str, Any]:
    """How far it is, as it last told; zeros until it does."""
    return {**NO_PROGRESS, **row.progress, "percent": percent(row) or 0}


def lease(row: Execution, *, now: datetime) -> dict[str, Any]:
    """Who holds a running execution, since when and until when."""
    expires_at = row.lease_expires_at
    return {
        "execution_id": row.id,
        "number": row.number,
        "name": row.snapshot.get("name"),
        "owner": row.worker_id,
        "attempt": row.attempt,
        "acquired_at": row.started_at,
        "heartbeat_at": row.heartbeat_at,
        "expires_at": expires_at,
        "extensions": row.lease_extensions,
        "age_ms": _milliseconds(row.started_at, now),
        "is_expired": expires_at is not None and expires_at < now,
    }


def _milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    return None if start is None or end is None else (end - start) // MILLISECOND
