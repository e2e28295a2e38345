"""A bulk operation as REST and the commands show it: one shape, made in one place."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from django.db.models import Model

from errors_app.models import DeadLetter, ErrorRecord
from executions_app.models import Execution
from scheduler_app.bulk import choosing
from scheduler_app.models import BulkOperation, Schedule
from scheduler_app.models_bulk import BulkVerb


def operation(one: BulkOperation) -> dict[str, Any]:
    """An operation and how far it is; instants stay instants for the encoder."""
    return {
        "id": one.id,
        "owner": one.owner_id,
        "verb": str(one.verb),
        "list": choosing.KINDS[BulkVerb(one.verb)].list.name,
        "filter": one.filter,
        "note": one.note,
        "reason": one.words.get("reason", ""),
        "until": one.words.get("until"),
        "status": str(one.status),
        "detail": one.detail,
        "total": one.total,
        "is_total_capped": one.is_total_capped,
        "done": one.done,
        "refused": one.refused,
        "refusals": one.refusals,
        "created_at": one.created_at,
        "started_at": one.started_at,
        "ended_at": one.ended_at,
        "updated_at": one.updated_at,
    }


@singledispatch
def row(one: Model) -> dict[str, Any]:
    """What a plan says of a row that is chosen."""
    raise TypeError(f"nobody said how to show {one!r}")


@row.register
def _(one: Execution) -> dict[str, Any]:
    name = f"#{one.number} {one.snapshot.get('name', '')}"
    return {"id": one.id, "name": name, "status": str(one.status)}


@row.register
def _(one: DeadLetter) -> dict[str, Any]:
    name = str(one.payload.get("snapshot", {}).get("name", ""))
    return {"id": one.id, "name": name, "status": one.handling or "open"}


@row.register
def _(one: ErrorRecord) -> dict[str, Any]:
    name = str(one.context.get("name") or one.exception_type)
    return {"id": one.id, "name": name, "status": str(one.recovery_status)}


@row.register
def _(one: Schedule) -> dict[str, Any]:
    return {"id": one.id, "name": one.name, "status": "enabled" if one.enabled else "disabled"}
