"""From due schedules to planned fires: what to record, what to run, when to come back.

Between `policies` (pure) and `dispatcher` (writes): reads what the decisions need in one query for
the whole batch, and turns a decision into rows to be inserted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from errors_app.backoff import RetryPolicy
from executions_app import ids, lifecycle
from executions_app.models import Execution
from executions_app.states import ACTIVE, ExecutionStatus, Trigger
from scheduler_app import next_run, policies
from scheduler_app.models import Schedule
from scheduler_app.policies import CatchupPolicy, Circumstances, Fire, OverlapPolicy

Next = tuple[next_run.Missed, datetime | None]
NextCache = dict[tuple[next_run.Rule, str, datetime], Next]


@dataclass(frozen=True, slots=True)
class Planned:
    """The fires of one schedule in this round and the instant of its next one."""

    schedule: Schedule
    fires: list[Fire]
    next_run_at: datetime | None
    execution_ids: dict[datetime, UUID] = field(default_factory=dict)

    @property
    def last_run_at(self) -> datetime | None:
        return max(self.execution_ids, default=None)

    @property
    def missed(self) -> int:
        return sum(fire.count for fire in self.fires if fire.is_missed)


def plan(
    schedules: Sequence[Schedule], *, now: datetime
) -> tuple[list[Planned], list[tuple[Schedule, Exception]]]:
    """Decide for every due schedule; a row that makes no sense is answered with its error."""
    active = _active([one.id for one in schedules])
    cache: NextCache = {}
    planned: list[Planned] = []
    broken: list[tuple[Schedule, Exception]] = []
    for schedule in schedules:
        try:
            planned.append(
                _plan_one(schedule, has_active=schedule.id in active, now=now, cache=cache)
            )
        except Exception as error:  # noqa: BLE001  a corrupt row disables itself and nobody else
            broken.append((schedule, error))
    return planned, broken


def _active(schedule_ids: Sequence[UUID]) -> set[UUID]:
    found = Execution.objects.filter(schedule_id__in=schedule_ids, status__in=ACTIVE)
    return {one for one in found.values_list("schedule_id", flat=True).distinct() if one}


def _plan_one(schedule: Schedule, *, has_active: bool, now: datetime, cache: NextCache) -> Planned:
    RetryPolicy.model_validate(schedule.retry_policy)
    due, next_at = _due_and_next(schedule, now=now, cache=cache)
    window = schedule.catchup_window_ms
    decided = policies.decide(
        due,
        Circumstances(
            overlap=OverlapPolicy(schedule.overlap_policy),
            catchup=CatchupPolicy(schedule.catchup_policy),
            catchup_limit=schedule.catchup_limit,
            catchup_window=None if window is None else timedelta(milliseconds=window),
            has_active=has_active,
        ),
        now=now,
    )
    runs = {fire.nominal_at: ids.new(now) for fire in decided if fire.is_run}
    return Planned(schedule, decided, next_at, runs)


def _due_and_next(schedule: Schedule, *, now: datetime, cache: NextCache) -> Next:
    first = schedule.next_run_at
    assert first is not None
    rule = next_run.parse_rule(
        schedule.schedule_type, schedule.schedule_config, anchor_at=schedule.anchor_at
    )
    key = (rule, schedule.timezone, first)
    if key not in cache:
        zone = next_run.zone(schedule.timezone)
        regular = next_run.missed(
            rule, zone, first=first, until=now, keep=policies.RECORDED_ONE_BY_ONE
        )
        cache[key] = _with_planned(first, regular), next_run.next_run(rule, zone, now)
    return cache[key]


def _with_planned(first: datetime, regular: next_run.Missed | None) -> next_run.Missed:
    """The due fires including `first`: what was planned counts even if the rule has no such fire.

    A next run may stand off its rule because somebody moved it.
    """
    if regular is None:
        return next_run.Missed(first, (), 0, None, None)
    oldest = regular.rest_first or (*regular.older, regular.newest)[0]
    if oldest == first:
        return regular
    if regular.rest_count or len(regular.older) == policies.RECORDED_ONE_BY_ONE:
        return dataclasses.replace(
            regular,
            rest_count=regular.rest_count + 1,
            rest_first=first,
            rest_last=regular.rest_last or first,
        )
    return dataclasses.replace(regular, older=(first, *regular.older))


def executions(planned: Sequence[Planned], *, now: datetime) -> Iterator[lifecycle.NewExecution]:
    """The executions of all fires that run, queued at once."""
    for one in planned:
        for nominal_at, execution_id in one.execution_ids.items():
            yield new_execution(
                one.schedule,
                execution_id,
                trigger=Trigger.TIME,
                nominal_at=nominal_at,
                due_at=now,
                status=ExecutionStatus.QUEUED,
            )


def new_execution(
    schedule: Schedule,
    execution_id: UUID,
    *,
    trigger: Trigger,
    due_at: datetime,
    status: ExecutionStatus,
    nominal_at: datetime | None = None,
    parameters: dict[str, Any] | None = None,
    correlation_id: str = "",
) -> lifecycle.NewExecution:
    """An execution of a schedule, with the snapshot that keeps it true after an edit."""
    policy = RetryPolicy.model_validate(schedule.retry_policy)
    return lifecycle.NewExecution(
        id=execution_id,
        schedule_id=schedule.id,
        owner_id=schedule.owner_id,
        snapshot=snapshot(schedule),
        trigger=trigger,
        parameters=parameters or {},
        nominal_at=nominal_at,
        due_at=due_at,
        status=status,
        priority=schedule.priority,
        max_attempts=policy.max_retries + 1,
        correlation_id=correlation_id or str(execution_id),
    )


def snapshot(schedule: Schedule) -> dict[str, Any]:
    """What a run needs of its schedule."""
    return {
        "name": schedule.name,
        "task_type": schedule.task_type,
        "task_config": schedule.task_config,
        "timeout_ms": schedule.timeout_ms,
        "retry_policy": schedule.retry_policy,
        "overlap_policy": schedule.overlap_policy,
        "version": schedule.version,
    }
