"""One verb for many executions, letters, errors or schedules: begin it, look ahead, abort it.

An operation is a row with a cursor. `create` only writes it down; `advance`, called by every beat,
carries it out bit by bit, as the person who began it. What is born later is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.models import AbstractUser
from django.db import transaction

from executions_app import audit, clock, events, ids
from executions_app.audit import Actor
from executions_app.states import BulkStatus, check
from scheduler_app.bulk import choosing, shapes
from scheduler_app.bulk.choosing import Chosen, InvalidChoice
from scheduler_app.models import BulkOperation
from scheduler_app.models_bulk import BulkVerb

SHOWN: Final = 10
"""Rows that a plan names."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants done: `takes_all` stands for an empty filter, so that none slips in."""

    verb: BulkVerb
    filter: Mapping[str, str] = field(default_factory=dict)
    takes_all: bool = False
    note: str = ""
    reason: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an operation would be for: so many rows, up to a limit, and the first of them."""

    verb: BulkVerb
    total: int
    is_total_capped: bool
    first: list[dict[str, Any]]


def plan(wanted: Wanted, *, user: AbstractUser) -> Plan:
    """What `create` would begin with, touching nothing; raises InvalidChoice."""
    now = clock.now()
    chosen, newest = _chosen(wanted, user=user, now=now)
    total, is_capped = choosing.count(chosen, newest=newest)
    page = choosing.page(chosen, after=None, newest=newest, size=SHOWN)
    first = chosen.rows.filter(id__in=page.ids).order_by("id")
    return Plan(wanted.verb, total, is_capped, [shapes.row(one) for one in first])


def create(wanted: Wanted, *, user: AbstractUser) -> BulkOperation:
    """Have it done, as `user`, to what the filter chooses now; raises InvalidChoice.

    Nothing has happened to any of it when this answers: `advance` begins.
    """
    with transaction.atomic():
        now = clock.now()
        chosen, newest = _chosen(wanted, user=user, now=now)
        total, is_capped = choosing.count(chosen, newest=newest)
        operation = BulkOperation.objects.create(
            id=ids.new(now),
            owner_id=user.pk,
            sees_all=user.is_superuser,
            verb=wanted.verb,
            filter=dict(wanted.filter),
            words=_words(wanted),
            note=wanted.note,
            newest_id=newest,
            total=total,
            is_total_capped=is_capped,
            created_at=now,
            updated_at=now,
        )
        after = {"verb": wanted.verb, "filter": wanted.filter, "total": total, **operation.words}
        tell(operation, "created", Actor.of(user), now=now, after=after, note=wanted.note)
    events.announce()
    return operation


def abort(operation_id: UUID, *, actor: Actor, note: str = "") -> BulkOperation:
    """Let the rest be as it is; what is done stays done. Raises IllegalMove."""
    with transaction.atomic():
        operation = BulkOperation.objects.select_for_update().get(id=operation_id)
        end(operation, BulkStatus.ABORTED, actor=actor, now=clock.now(), detail=note)
    events.announce()
    return operation


def end(
    operation: BulkOperation, status: BulkStatus, *, actor: Actor, now: datetime, detail: str = ""
) -> None:
    """In the transaction that has locked the row; raises IllegalMove."""
    check(BulkStatus(operation.status), status)
    operation.status, operation.detail = status, detail
    operation.ended_at = operation.updated_at = now
    operation.save()
    after = {"done": operation.done, "refused": operation.refused}
    tell(operation, status.value, actor, now=now, after=after, note=detail)


def tell(
    operation: BulkOperation,
    action: str,
    actor: Actor,
    *,
    now: datetime,
    after: Mapping[str, Any],
    note: str = "",
) -> None:
    """In the caller's transaction: the audit entry and the event of a beginning or an end."""
    audit.record(
        actor,
        f"bulk.{action}",
        object_type="bulk_operation",
        object_id=operation.id,
        now=now,
        after=after,
        note=note,
    )
    tell_progress(operation)


def tell_progress(operation: BulkOperation) -> None:
    """In the caller's transaction: the event that says how far it is."""
    facts = ("verb", "status", "total", "is_total_capped", "done", "refused")
    data = {name: getattr(operation, name) for name in facts}
    topic = f"bulk:{operation.id}"
    events.emit([events.NewEvent("bulk:progress", topic, data, owner_id=operation.owner_id)])


def _chosen(wanted: Wanted, *, user: AbstractUser, now: datetime) -> tuple[Chosen, UUID]:
    _check(wanted, now=now)
    rows = choosing.visible(wanted.verb, user, sees_all=user.is_superuser)
    chosen = choosing.read(wanted.verb, wanted.filter, rows)
    return chosen, choosing.newest(wanted.verb) or ids.floor(now)


def _check(wanted: Wanted, *, now: datetime) -> None:
    if not wanted.filter and not wanted.takes_all:
        raise InvalidChoice(("filter",), 'is empty; say which rows, or "all": true')
    if wanted.filter and wanted.takes_all:
        raise InvalidChoice(("all",), "is for no filter; give one of the two")
    if wanted.verb is not BulkVerb.PAUSE:
        for name in ("reason", "until"):
            if getattr(wanted, name):
                raise InvalidChoice((name,), "is for a pause")
    if wanted.until is not None and wanted.until <= now:
        raise InvalidChoice(("until",), "has passed; choose a later instant")


def _words(wanted: Wanted) -> dict[str, Any]:
    if wanted.verb is not BulkVerb.PAUSE:
        return {}
    return {"reason": wanted.reason, "until": wanted.until and wanted.until.isoformat()}
