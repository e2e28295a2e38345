"""Fires that nobody looked at: while a schedule is off, each is recorded as passed over.

`paused_at` is since when. The records are written when that ends: by a resume, an edit that moves
the next run, a deletion, or by itself. Up to RECORDED_ONE_BY_ONE of the newest have a record of
their own, the rest one together.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models.functions import Now

from executions_app import clock, ids, partitions
from scheduler_app import next_run
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.next_run import InvalidTriggerConfigError, Missed
from scheduler_app.policies import RECORDED_ONE_BY_ONE, FireReason, TriggerType

MOST_AT_ONCE: Final = 100  # pauses that are ended by one call of `end_over`


def is_off(schedule: Schedule, now: datetime) -> bool:
    """True if it does not fire: disabled, or paused until later."""
    is_paused = schedule.paused_until is not None and schedule.paused_until > now
    return not schedule.enabled or is_paused


def settle(schedule: Schedule, *, now: datetime) -> None:
    """Record what was passed over up to `now`, by the rule that was in force; it is locked.

    That is what fell into a pause, and what is overdue because the system is stopped.
    """
    passed: list[FireRecord] = []
    if schedule.paused_at is not None:
        over_at = schedule.paused_until if schedule.enabled and schedule.paused_until else now
        passed += _records(schedule, first=schedule.paused_at, until=min(over_at, now), now=now)
        schedule.paused_at = None
    if schedule.enabled and schedule.next_run_at is not None and schedule.next_run_at <= now:
        passed += _records(schedule, first=schedule.next_run_at, until=now, now=now)
    if passed:
        months = [record.nominal_at for record in passed]
        partitions.ensure(partitions.FIRE_RECORDS, months, now=now)
        FireRecord.objects.bulk_create(passed, ignore_conflicts=True)


def end_over() -> int:
    """Settle pauses whose end has come; answers how many. One cheap look where there are none."""
    over = Schedule.objects.filter(
        enabled=True, paused_at__isnull=False, paused_until__lte=Now()
    ).order_by("paused_until")
    if not over.exists():
        return 0
    with transaction.atomic():
        now = clock.now()
        rows = list(over.select_for_update(skip_locked=True)[:MOST_AT_ONCE])
        for schedule in rows:
            until, schedule.next_run_at = schedule.next_run_at, None  # that one is not passed over
            settle(schedule, now=now)
            schedule.next_run_at = until
        Schedule.objects.filter(id__in=[one.id for one in rows]).update(paused_at=None)
    return len(rows)


def _records(
    schedule: Schedule, *, first: datetime, until: datetime, now: datetime
) -> Iterator[FireRecord]:
    found = _fires(schedule, first=first, until=until)
    if found is None:
        return
    if found.rest_first is not None:
        yield _record(
            schedule, found.rest_first, now=now, until=found.rest_last, count=found.rest_count
        )
    for nominal_at in (*found.older, found.newest):
        yield _record(schedule, nominal_at, now=now)


def _fires(schedule: Schedule, *, first: datetime, until: datetime) -> Missed | None:
    """Its nominal fires in a range, within its start and end; None where it has none."""
    first = max(first, schedule.start_at or first)
    until = min(until, schedule.end_at or until)
    if schedule.trigger_type != TriggerType.TIME_BASED or first > until:
        return None
    try:
        rule = next_run.parse_rule(
            schedule.schedule_type, schedule.schedule_config, anchor_at=schedule.anchor_at
        )
        zone = next_run.zone(schedule.timezone)
    except InvalidTriggerConfigError:  # a corrupt row has no fires
        return None
    return next_run.missed(rule, zone, first=first, until=until, keep=RECORDED_ONE_BY_ONE - 1)


def _record(
    schedule: Schedule,
    nominal_at: datetime,
    *,
    now: datetime,
    until: datetime | None = None,
    count: int = 1,
) -> FireRecord:
    return FireRecord(
        id=ids.new(now),
        schedule_id=schedule.id,
        nominal_at=nominal_at,
        nominal_until=until,
        count=count,
        reason=FireReason.SKIPPED_PAUSED,
        created_at=now,
    )
