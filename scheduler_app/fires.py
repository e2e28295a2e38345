"""From due schedules to planned fires: what to record, what to run, when to come back.

Between `policies` (pure) and `firing` (writes). What many schedules have in common (a rule, a
retry policy, the circumstances of a decision, the next run of a rule after an instant) is read and
computed once and remembered by its text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from errors_app.backoff import RetryPolicy
from executions_app import ids, lifecycle
from executions_app.overlaps import Standing
from executions_app.states import ExecutionStatus, Trigger
from scheduler_app import next_run, policies
from scheduler_app.conditions import PLAIN, Conditions, Reader
from scheduler_app.due import Due, instant
from scheduler_app.limiting.labels import Labels
from scheduler_app.models import Schedule
from scheduler_app.policies import CatchupPolicy, Circumstances, Fire, OverlapPolicy

AGENT: Final = "agent"
REMEMBERED: Final = 16_384
NOTHING_ACTIVE: Final = Standing()
SOMETHING_ACTIVE: Final = Standing(active=1)


@dataclass(frozen=True, slots=True)
class Decision:
    """The fates of the due fires, and the fire that follows them: None if there is none.

    `conditions` are those of the schedule: what is still to be looked at when this is written.
    """

    fires: list[Fire]
    following: datetime | None
    conditions: Conditions = PLAIN
    cut_at: datetime | None = None
    """The first due fire after the last allowed run: it comes if that run is not made."""

    @property
    def resumes_at(self) -> datetime | None:
        """The next fire, where not every run that was allowed was made."""
        return self.cut_at or self.following

    @property
    def runs(self) -> int:
        return sum(fire.is_run for fire in self.fires)

    @property
    def last_run_at(self) -> datetime | None:
        return max((fire.nominal_at for fire in self.fires if fire.is_run), default=None)

    @property
    def missed(self) -> int:
        return sum(fire.count for fire in self.fires if fire.is_missed)


class Planned(NamedTuple):
    """What becomes of one schedule; one execution id per fire, None for one that does not run."""

    due: Due
    decision: Decision
    execution_ids: list[UUID | None]


def plan(
    due: Sequence[Due],
    *,
    busy: Collection[str],
    standing: Mapping[str, Standing],
    now: datetime,
) -> tuple[list[Planned], list[tuple[Due, Exception]]]:
    """Decide for every due schedule; a row that makes no sense is answered with its error.

    `busy` are those with an active execution, `standing` says more of those that need more. What
    is decided for one row holds for every other that differs in nothing decisive. A schedule that
    is not due yet is decided as of its instant.
    """
    reader = Reader(one.conditions for one in due)
    decisions: dict[tuple[object, ...], Decision] = {}
    new_ids = ids.stream(now)
    planned: list[Planned] = []
    broken: list[tuple[Due, Exception]] = []
    for one in due:
        beside = SOMETHING_ACTIVE if one.id in busy else standing.get(one.id, NOTHING_ACTIVE)
        key = (beside, one.decisive)
        try:
            decision = decisions.get(key)
            if decision is None:
                decided_at = max(now, instant(one.next_run_at))
                decision = decisions[key] = _decide(one, reader, beside, now=decided_at)
            runs = [next(new_ids) if fire.is_run else None for fire in decision.fires]
            planned.append(Planned(one, decision, runs))
        except Exception as error:  # noqa: BLE001  a corrupt row disables itself and nobody else
            broken.append((one, error))
    return planned, broken


def _decide(one: Due, reader: Reader, beside: Standing, *, now: datetime) -> Decision:
    _check_retry_policy(one.retry_policy)
    given = reader.read(one.conditions, timezone=one.timezone)
    first = instant(one.next_run_at)
    if given.end_at is not None and first > given.end_at:
        return Decision([], None, given)
    rule = _rule(one.schedule_type, one.schedule_config, one.anchor_at)
    zone = next_run.zone(one.timezone)
    until = now if given.end_at is None else min(now, given.end_at)
    missed, next_at = _missed_and_next(rule, zone, first=first, now=until)
    if next_at is not None and given.end_at is not None and next_at > given.end_at:
        next_at = None
    fates = policies.decide(missed, _circumstances(one, given, beside), now=now)
    return Decision(fates, next_at, given, _cut_at(missed, fates))


def _cut_at(due: next_run.Missed, fates: Sequence[Fire]) -> datetime | None:
    if not fates or fates[-1].nominal_at >= due.newest:
        return None
    return next(one for one in (*due.older, due.newest) if one > fates[-1].nominal_at)


def _circumstances(one: Due, given: Conditions, beside: Standing) -> Circumstances:
    window_ms = one.catchup_window_ms
    return Circumstances(
        overlap=OverlapPolicy(one.overlap_policy),
        catchup=CatchupPolicy(one.catchup_policy),
        catchup_limit=one.catchup_limit,
        catchup_window=None if window_ms is None else timedelta(milliseconds=window_ms),
        has_active=beside.active > 0,
        held=beside.held,
        buffer_limit=given.buffer_limit,
        runs_left=given.runs_left,
        openings=given.openings,
        outside=given.outside,
    )


@lru_cache(REMEMBERED)
def _check_retry_policy(text: str) -> None:
    RetryPolicy.model_validate(json.loads(text))


@lru_cache(REMEMBERED)
def _rule(schedule_type: str, config: str, anchor_at: str | None) -> next_run.Rule:
    anchor = None if anchor_at is None else instant(anchor_at)
    return next_run.parse_rule(schedule_type, json.loads(config), anchor_at=anchor)


def _missed_and_next(
    rule: next_run.Rule, zone: ZoneInfo, *, first: datetime, now: datetime
) -> tuple[next_run.Missed, datetime | None]:
    following = next_run.next_run(rule, zone, first)
    if following is None or following > now:  # on time: nothing was missed
        return next_run.Missed(first, (), 0, None, None), following
    keep = policies.RECORDED_ONE_BY_ONE
    regular = next_run.missed(rule, zone, first=first, until=now, keep=keep)
    return _with_planned(first, regular), next_run.next_run(rule, zone, now)


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


def new_execution(
    schedule: Schedule,
    execution_id: UUID,
    *,
    trigger: Trigger,
    due_at: datetime,
    born_with: Labels,
    nominal_at: datetime | None = None,
    parameters: dict[str, Any] | None = None,
    correlation_id: str = "",
) -> lifecycle.NewExecution:
    """A pending execution of a schedule, with the snapshot that keeps it true after an edit."""
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
        status=ExecutionStatus.PENDING,
        priority=schedule.priority,
        max_attempts=policy.max_retries + 1,
        correlation_id=correlation_id or str(execution_id),
        limit_key=born_with.limit_key,
        unique_key=born_with.unique_key,
        expires_at=born_with.expires_at,
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
        **(_timing(schedule) if schedule.task_type == AGENT else {}),
    }


def _timing(schedule: Schedule) -> dict[str, Any]:
    """What an AI is told of when its schedule runs."""
    return {"timezone": schedule.timezone, "schedule_config": schedule.schedule_config}
