"""Fires past and to come as REST and the commands show them: one shape, made in one place."""

from __future__ import annotations

from typing import Any

from executions_app import shapes
from scheduler_app.coming import BusyMinute, Coming
from scheduler_app.foresight.lint_rows import Linted
from scheduler_app.foresight.upcoming import Upcoming
from scheduler_app.foresight.why import Why
from scheduler_app.models import Backfill, FireRecord, WebhookDelivery


def fire(row: FireRecord) -> dict[str, Any]:
    """One record of a fire; instants stay instants for the encoder."""
    return {
        "id": row.id,
        "schedule_id": row.schedule_id,
        "nominal_at": row.nominal_at,
        "nominal_until": row.nominal_until,
        "count": row.count,
        "reason": row.reason,
        "cause": row.cause,
        "execution_id": row.execution_id,
        "lateness_ms": row.lateness_ms,
        "created_at": row.created_at,
    }


def delivery(row: WebhookDelivery) -> dict[str, Any]:
    """A delivery that a webhook has taken, and what came of it."""
    return {
        "id": row.id,
        "schedule_id": row.schedule_id,
        "delivery_id": row.delivery_id,
        "execution_id": row.execution_id,
        "reason": row.reason,
        "received_at": row.received_at,
    }


def why(answer: Why) -> dict[str, Any]:
    """Why a fire did or did not run, with the rows that tell it."""
    return {
        "at": answer.at,
        "code": answer.code,
        "sentence": answer.sentence,
        "fire": None if answer.fire is None else fire(answer.fire),
        "execution": None if answer.execution is None else shapes.execution(answer.execution),
    }


def upcoming(look: Upcoming) -> dict[str, Any]:
    """The fires to come; `until` is up to when nothing is left out but what `next` leads to."""
    return {
        "from": look.begin,
        "until": look.until,
        "is_complete": look.is_complete,
        "fires": [coming(one) for one in look.fires],
        "busiest_minutes": [busy_minute(one) for one in look.busiest],
    }


def coming(one: Coming) -> dict[str, Any]:
    return {
        "nominal_at": one.nominal_at,
        "schedule_id": one.schedule_id,
        "name": one.name,
        "reason": one.reason.value,
        "due_at": one.due_at,
    }


def busy_minute(one: BusyMinute) -> dict[str, Any]:
    return {"at": one.at, "count": one.count}


def linted(one: Linted) -> dict[str, Any]:
    """A schedule with what was found."""
    return {
        "schedule_id": one.schedule.id,
        "name": one.schedule.name,
        "findings": [
            {"code": finding.code, "message": finding.message} for finding in one.findings
        ],
    }


def backfill(row: Backfill, *, active: int) -> dict[str, Any]:
    """A backfill and how far it has come; `active` of what it made has not ended."""
    return {
        "id": row.id,
        "schedule_id": row.schedule_id,
        "from": row.range_from,
        "until": row.range_until,
        "status": str(row.status),
        "total": row.total,
        "made": row.made,
        "active": active,
        "max_concurrent": row.max_concurrent,
        "cursor": row.cursor,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
