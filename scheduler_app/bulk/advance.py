"""Carries bulk operations out, a page of executions (or other rows) at a time.

A page of executions, letters or errors is one transaction: rows, counts and cursor move together
and no number of rows changes the number of statements. Schedules are switched one by one, because
each fires first what is due, and each moves the cursor in its own transaction. So any number of
beats, any crash and an abort between two pages leave counts that are true.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from errors_app import many as errors
from executions_app import audit, clock, events
from executions_app import many as executions
from executions_app.audit import Actor
from executions_app.database_errors import is_away, is_of_the_database
from executions_app.many import GONE, Refusals
from executions_app.states import BulkStatus, SchedulerException
from scheduler_app.bulk import choosing, operations, switching
from scheduler_app.bulk.choosing import Chosen, Page
from scheduler_app.models import BulkOperation, Schedule
from scheduler_app.models_bulk import BulkVerb

PAGE: Final = 200
SCHEDULES: Final = 4
"""Schedules of a page: each takes about 10 ms of the thread that dispatches."""
MOST_LOOKED_AT: Final = 20
"""Operations of which one is carried on by one call."""
MOST_REFUSALS: Final = 100
"""Refusals that are kept with their reasons."""

logger = logging.getLogger(__name__)


class Overtaken(Exception):
    """The operation has ended, or another beat has come further. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Act:
    """What is done to a page of rows that `lock` holds; answers what was refused."""

    lock: Callable[[Sequence[UUID]], dict[UUID, str]]
    act: Callable[..., Refusals]


ACTS: Final[Mapping[BulkVerb, Act]] = {
    BulkVerb.CANCEL: Act(executions.lock, executions.cancel),
    BulkVerb.RETRY: Act(executions.lock, errors.requeue_executions),
    BulkVerb.REQUEUE: Act(errors.lock, errors.requeue),
    BulkVerb.DISCARD: Act(errors.lock, errors.discard),
    BulkVerb.RESOLVE: Act(errors.lock_errors, errors.resolve),
    BulkVerb.IGNORE: Act(errors.lock_errors, errors.ignore),
}
"""The verbs that move a page in one transaction; the others switch schedules."""


def advance() -> bool:
    """Carry on the operation that has waited longest by a page; True if there was one.

    One indexed look where none runs.
    """
    running = BulkOperation.objects.filter(status=BulkStatus.RUNNING).order_by("updated_at")
    candidates = running.values_list("id", "verb")[:MOST_LOOKED_AT]
    return any(_advance(id_, BulkVerb(verb)) for id_, verb in candidates)


def _advance(operation_id: UUID, verb: BulkVerb) -> bool:
    step = _move_page if verb in ACTS else _switch_page
    try:
        return step(operation_id)
    except Exception as error:
        if is_away(error):
            raise
        logger.exception("Bulk operation %s met an error", operation_id)
        if not is_of_the_database(error):  # then it would come again, round after round
            _fail(operation_id, error)
    return False


def _move_page(operation_id: UUID) -> bool:
    with transaction.atomic():
        operation = _running(operation_id)
        if operation is None or not _may_go_on(operation):
            return operation is not None
        chosen = _chosen(operation)
        page = _page(operation, chosen, size=PAGE)
        refused = _act(operation, page.ids, chosen)
        _count(operation, tried=len(page.ids), refused=refused)
        _put(operation, page)
    events.announce()
    return True


def _act(operation: BulkOperation, ids: Sequence[UUID], chosen: Chosen) -> Refusals:
    verb = ACTS[BulkVerb(operation.verb)]
    seen = verb.lock(ids)
    still = choosing.still(chosen, seen)  # what is held does not change any more
    refused = {
        one: f"it is {seen[one]} by now" if one in seen else GONE for one in ids if one not in still
    }
    left = [one for one in ids if one in still]
    actor, facts = Actor.of(operation.owner), {"bulk_operation": str(operation.id)}
    return refused | verb.act(left, actor=actor, note=operation.note, facts=facts)


def _switch_page(operation_id: UUID) -> bool:
    with transaction.atomic():
        operation = _running(operation_id)
        if operation is None or not _may_go_on(operation):
            return operation is not None
    chosen = _chosen(operation)
    page = _page(operation, chosen, size=SCHEDULES)
    try:
        for one in page.ids:
            _switch(operation, one, chosen)
            operation.cursor = one
        with transaction.atomic():
            _put(_held(operation), page)
    except Overtaken:
        return False
    events.announce()
    return True


def _switch(operation: BulkOperation, schedule_id: UUID, chosen: Chosen) -> None:
    """One schedule; raises Overtaken."""
    note = partial(_note, operation, schedule_id)
    try:
        act = _switching(operation)
        switching.switch(schedule_id, act, chosen=chosen.rows, also=note)
    except Schedule.DoesNotExist:
        note(GONE)
    except SchedulerException as error:
        note(str(error))


def _switching(operation: BulkOperation) -> switching.Act:
    if operation.verb == BulkVerb.RESUME:
        return switching.resuming(user=operation.owner)
    said: dict[str, Any] = operation.words
    until = datetime.fromisoformat(said["until"]) if said["until"] else None
    return switching.pausing(reason=said["reason"], until=until, user=operation.owner)


def _note(seen: BulkOperation, schedule_id: UUID, refusal: str = "") -> None:
    """Count one schedule, in the transaction that has switched it; raises Overtaken."""
    with transaction.atomic():
        operation = _held(seen)
        _count(operation, tried=1, refused={schedule_id: refusal} if refusal else {})
        operation.cursor = schedule_id
        operation.save()


def _running(operation_id: UUID) -> BulkOperation | None:
    """The operation, locked; None if it has ended or another beat is at it."""
    running = BulkOperation.objects.filter(id=operation_id, status=BulkStatus.RUNNING)
    locked = running.select_related("owner").select_for_update(skip_locked=True, of=("self",))
    return locked.first()


def _held(seen: BulkOperation) -> BulkOperation:
    """The operation as it is now, locked; raises Overtaken unless it is where it was seen."""
    operation = BulkOperation.objects.select_for_update().get(id=seen.id)
    if operation.status != BulkStatus.RUNNING or operation.cursor != seen.cursor:
        raise Overtaken
    return operation


def _may_go_on(operation: BulkOperation) -> bool:
    """True while who began it may still act; else it is aborted."""
    if operation.owner.is_active:
        return True
    detail = "the account that began it is not active any more"
    operations.end(
        operation, BulkStatus.ABORTED, actor=audit.SYSTEM, now=clock.now(), detail=detail
    )
    return False


def _chosen(operation: BulkOperation) -> Chosen:
    verb = BulkVerb(operation.verb)
    rows = choosing.visible(verb, operation.owner, sees_all=operation.sees_all)
    return choosing.read(verb, operation.filter, rows)


def _page(operation: BulkOperation, chosen: Chosen, *, size: int) -> Page:
    return choosing.page(chosen, after=operation.cursor, newest=operation.newest_id, size=size)


def _count(operation: BulkOperation, *, tried: int, refused: Refusals) -> None:
    operation.done += tried - len(refused)
    operation.refused += len(refused)
    named = [{"id": str(one), "detail": detail} for one, detail in sorted(refused.items())]
    operation.refusals = (operation.refusals + named)[:MOST_REFUSALS]


def _put(operation: BulkOperation, page: Page) -> None:
    """In the transaction that holds it: everything up to the page's cursor has been looked at."""
    now = clock.now()
    operation.cursor, operation.updated_at = page.cursor, now
    operation.started_at = operation.started_at or now
    if page.is_last:
        operations.end(operation, BulkStatus.COMPLETED, actor=audit.SYSTEM, now=now)
    else:
        operation.save()
        operations.tell_progress(operation)


def _fail(operation_id: UUID, error: Exception) -> None:
    is_foreseen = isinstance(error, SchedulerException)
    detail = str(error) if is_foreseen else f"an error nobody foresaw: {type(error).__name__}"
    with transaction.atomic():
        operation = _running(operation_id)
        if operation is not None:
            operations.end(
                operation, BulkStatus.FAILED, actor=audit.SYSTEM, now=clock.now(), detail=detail
            )
    events.announce()
