"""What follows from an ended execution for those who wait for it: dependent schedules start.

Everything here happens in the transaction that takes the outcome out of the inbox, so that an
outcome starts its dependents or is taken again. Each start (or the reason why there is none) has a
fire record whose cause is the upstream's execution: the same outcome cannot be recorded twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection

from executions_app import clock, partitions
from executions_app.states import ExecutionStatus, Trigger
from scheduler_app.models import DependencyMark, FireRecord, Schedule
from scheduler_app.sources import chains, handing_on, records, starting
from scheduler_app.sources.config import DependentConfig, parse_trigger_config
from scheduler_app.sources.starting import Cause, Started

WAITING: Final = """
SELECT t.id FROM unnest(%s::uuid[]) AS u(id) CROSS JOIN LATERAL (
    SELECT s.id FROM task_schedules s WHERE s.trigger_type = 'dependent'
        AND s.trigger_config @> jsonb_build_object('upstreams', jsonb_build_array(u.id::text))
) AS t
"""
LOCK: Final = """
SELECT FROM task_schedules WHERE id = ANY(%s::uuid[]) ORDER BY id FOR UPDATE
"""
SATISFY: Final = {
    "success": {ExecutionStatus.COMPLETED},
    "failure": {ExecutionStatus.FAILED},
    "end": {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED},
}
Marks = Mapping[str, UUID]
"""The execution of each upstream that has ended as it should since the last start."""


class Ended(NamedTuple):
    """One terminal outcome of a schedule's execution."""

    execution_id: UUID
    schedule_id: str
    status: str
    completed_at: datetime

    @property
    def cause(self) -> str:
        return f"dependency:{self.execution_id}"


@dataclass(slots=True)
class Waiting:
    """The dependent schedules of a batch of outcomes, locked, with what they have seen so far."""

    schedules: Sequence[Schedule] = ()
    marks: Mapping[UUID, Marks] = field(default_factory=dict)
    """By dependent schedule."""


def downstream_of(schedule_ids: Iterable[UUID | str]) -> set[UUID]:
    """The schedules that depend on one of these directly."""
    with connection.cursor() as cursor:
        cursor.execute(WAITING, [list(schedule_ids)])
        return {row[0] for row in cursor.fetchall()}


def lock(schedule_ids: Sequence[str]) -> Waiting:
    """Those that wait for these schedules; they and the upstreams are locked, in the order of ids.

    Asked before anything else locks a schedule: later their ids would be out of order.
    """
    downstream = downstream_of(schedule_ids)
    if not downstream:
        return Waiting()
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [[*schedule_ids, *map(str, downstream)]])
    schedules = list(Schedule.objects.filter(id__in=downstream).order_by("id"))
    marks: defaultdict[UUID, dict[str, UUID]] = defaultdict(dict)
    for mark in DependencyMark.objects.filter(schedule_id__in=downstream):
        marks[mark.schedule_id][str(mark.upstream_id)] = mark.execution_id
    return Waiting(schedules, dict(marks))


def start(waiting: Waiting, outcomes: Sequence[Ended]) -> int:
    """Start the dependents of these outcomes, in their order; answers how many executions."""
    if not waiting.schedules:
        return 0
    now = clock.now()
    instants = {
        (one.completed_at.year, one.completed_at.month): one.completed_at for one in outcomes
    }
    partitions.ensure(partitions.FIRE_RECORDS, instants.values(), now=now)
    started = 0
    for schedule in waiting.schedules:
        started += _start_one(schedule, outcomes, waiting.marks.get(schedule.id, {}), now=now)
    return started


def _start_one(
    schedule: Schedule, outcomes: Iterable[Ended], marks: Marks, *, now: datetime
) -> int:
    config = None
    with starting.alone(schedule):
        config = parse_trigger_config(schedule.trigger_type, schedule.trigger_config)
    if not isinstance(config, DependentConfig):  # it was changed before it was locked
        return 0
    before, started = marks, 0
    for one in outcomes:
        if not _counts(schedule, config, one):
            continue
        made = False
        with starting.alone(schedule):  # one that cannot be started leaves the others theirs
            made, marks = _take(schedule, config, one, marks, now=now)
        started += made
    if marks != before:
        _remember(schedule.id, marks)
    return started


def _counts(schedule: Schedule, config: DependentConfig, outcome: Ended) -> bool:
    is_wanted = outcome.schedule_id in config.upstreams and outcome.status in SATISFY[config.on]
    return is_wanted and outcome.completed_at >= schedule.created_at  # it may be drawn late


def _take(
    schedule: Schedule, config: DependentConfig, outcome: Ended, marks: Marks, *, now: datetime
) -> tuple[bool, Marks]:
    """One outcome that counts: whether an execution came of it, and what is marked after it."""
    this = {outcome.schedule_id: outcome.execution_id}
    if config.mode == "any":
        return _fire(schedule, outcome, this, now=now), marks
    marked = {**marks, **this}
    complete = {one: marked[one] for one in config.upstreams if one in marked}
    if len(complete) < len(config.upstreams):
        return False, marked
    return _fire(schedule, outcome, complete, now=now), {}


def _fire(
    schedule: Schedule, outcome: Ended, upstreams: Mapping[str, UUID], *, now: datetime
) -> bool:
    of_this_cause = FireRecord.objects.filter(
        schedule_id=schedule.id, nominal_at=outcome.completed_at, cause=outcome.cause
    )
    if of_this_cause.exists():
        return False
    started = _started(schedule, outcome, upstreams, now=now)
    if started is None:
        return False
    records.write(
        schedule.id, started, nominal_at=outcome.completed_at, cause=outcome.cause, now=now
    )
    return started.execution_id is not None


def _started(
    schedule: Schedule, outcome: Ended, upstreams: Mapping[str, UUID], *, now: datetime
) -> Started | None:
    """The start or what is recorded instead; None for an outcome that is not for it."""
    if reason := starting.closed(schedule, at=outcome.completed_at):
        return records.of_closed(reason)
    handed = handing_on.collect(upstreams.values(), last=outcome.execution_id)
    if chains.has_led(schedule, handed.chain):
        chains.refuse(
            schedule,
            "the schedule has itself led to the outcome",
            cause=outcome.cause,
            kind=f"execution:{outcome.status}",
            execution_id=outcome.execution_id,
        )
        return None
    cause = Cause(
        Trigger.DEPENDENCY,
        {"upstream": handed.results},
        handed.correlation_id,
        handed.chain,
        nominal_at=outcome.completed_at,
    )
    return starting.start(schedule, cause, now=now)


def _remember(schedule_id: UUID, marks: Marks) -> None:
    DependencyMark.objects.filter(schedule_id=schedule_id).delete()
    DependencyMark.objects.bulk_create(
        [
            DependencyMark(schedule_id=schedule_id, upstream_id=upstream, execution_id=execution)
            for upstream, execution in marks.items()
        ]
    )
