"""What happened to one execution, or to anything else, starts another: internal events, heard once.

One cursor over the events table is moved in the transaction that makes the executions, by one beat
at a time; a beat that dies leaves both as they were. A schedule that fails is disabled by itself,
and the others hear on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from executions_app import clock, events
from executions_app.states import Trigger
from scheduler_app.models import EventCursor, Schedule
from scheduler_app.sources import chains, filters, hearing, payloads, records, starting
from scheduler_app.sources.config import InternalConfig, parse_trigger_config
from scheduler_app.sources.hearing import Heard, Listener, Origin
from scheduler_app.sources.starting import Cause, Started

MOST_PAGES: Final = 20  # then the other duties of a beat have their turn


def hear() -> int:
    """Start what the events since the last hearing start; answers how many executions."""
    started = 0
    for _ in range(MOST_PAGES):
        with transaction.atomic():
            made, is_full = _hear_page()
        started += made
        if not is_full:
            break
    return started


def _hear_page() -> tuple[int, bool]:
    """How many executions the next page of events has started, and whether it was a full one."""
    since = hearing.lock_cursor()
    listeners = hearing.listening() if since else []
    page = hearing.read(since, listeners) if since and listeners else None
    if page is None:
        return 0, False
    started = _start_all(page.events, listeners)
    EventCursor.objects.filter(id=1).update(xid=page.end.xid, event_id=page.end.id)
    events.announce()
    return started, page.is_full


def _start_all(page: Sequence[Heard], listeners: Sequence[Listener]) -> int:
    heard = list(_heard(page, listeners))
    if not heard:
        return 0
    wanted = {schedule_id for _, schedule_id in heard}
    locked = Schedule.objects.select_for_update().filter(id__in=wanted).order_by("id")
    schedules = {one.id: one for one in locked}
    origins = hearing.origins(event.execution_id for event, _ in heard if event.execution_id)
    now = clock.now()
    started = 0
    for event, schedule_id in heard:
        schedule = schedules.get(schedule_id)
        if schedule is None or not schedule.enabled:
            continue
        origin = origins.get(event.execution_id, Origin())
        started += _start(schedule, event, origin, now=now)
    return started


def _heard(page: Iterable[Heard], listeners: Sequence[Listener]) -> Iterator[tuple[Heard, UUID]]:
    of_type: defaultdict[str, list[Listener]] = defaultdict(list)
    for one in listeners:
        of_type[one.event].append(one)
    for event in page:
        for listener in of_type[event.type]:
            if listener.hears(event):
                yield event, listener.schedule_id


def _start(schedule: Schedule, event: Heard, origin: Origin, *, now: datetime) -> bool:
    """True if the event has started the schedule; whatever is wrong with it stays with it."""
    has_started = False
    with starting.alone(schedule):
        config = parse_trigger_config(schedule.trigger_type, schedule.trigger_config)
        if isinstance(config, InternalConfig) and config.event == event.type:
            has_started = _start_by(config, schedule, event, origin, now=now)
    return has_started


def _start_by(
    config: InternalConfig, schedule: Schedule, event: Heard, origin: Origin, *, now: datetime
) -> bool:
    shown = event.shown()
    if not filters.matches(config.filter, shown):
        return False
    started = _started(schedule, event, shown, origin, now=now)
    if started is None:
        return False
    cause = f"event:{event.cursor}"
    records.write_if_skipped(
        schedule.id, started, nominal_at=event.created_at, cause=cause, now=now
    )
    return started.execution_id is not None


def _started(
    schedule: Schedule, event: Heard, shown: Mapping[str, Any], origin: Origin, *, now: datetime
) -> Started | None:
    """The start or why a policy made none; None for an event that is not for it."""
    if reason := starting.closed(schedule, at=event.created_at):
        return records.of_closed(reason)
    if objection := chains.objection(schedule, origin.chain):
        chains.refuse(
            schedule,
            objection,
            cause=str(event.cursor),
            kind=event.type,
            execution_id=event.execution_id,
        )
        return None
    parameters = {"event": payloads.kept(shown)}
    cause = Cause(Trigger.EVENT, parameters, origin.correlation_id, origin.chain)
    return starting.start(schedule, cause, now=now)
