"""Reads what `lint` looks at of stored schedules, in a few statements for many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from executions_app.states import Priority
from executions_app.wording import iso
from scheduler_app import coming_rows
from scheduler_app.coming import minute_of
from scheduler_app.foresight import lint, recorded, upcoming
from scheduler_app.foresight.lint import Finding, Looked
from scheduler_app.models import Schedule
from scheduler_app.next_run import InvalidTriggerConfigError
from scheduler_app.policies import CatchupPolicy, OverlapPolicy, TriggerType
from scheduler_app.sources.config import DependentConfig, parse_trigger_config

CROWDS_AHEAD: Final = timedelta(hours=24)
MINUTE: Final = timedelta(minutes=1)
MOST_COUNTED: Final = 1_000
BROKEN: Final = "broken"


@dataclass(frozen=True, slots=True)
class Linted:
    """A schedule with what was found."""

    schedule: Schedule
    findings: list[Finding]


def read(schedules: Sequence[Schedule], *, now: datetime) -> list[Linted]:
    """What is to be said about each of them, in their order, those without findings included."""
    durations = recorded.durations([one.id for one in schedules])
    crowd = _crowd(now)
    idle = _idle_upstreams(schedules)
    return [
        Linted(one, _findings(one, durations.get(one.id, []), crowd, idle, now=now))
        for one in schedules
    ]


def collisions(fires: Sequence[datetime]) -> list[str]:
    """A warning if at least MANY_AT_ONCE schedules fire next in the minute of the first of `fires`.

    Those that fire before, and then again, are not counted: that keeps it one look at an index.
    """
    if not fires:
        return []
    minute = minute_of(fires[0])
    of_the_minute = Schedule.objects.filter(
        enabled=True,
        priority__in=list(Priority),
        next_run_at__gte=minute,
        next_run_at__lt=minute + MINUTE,
    )
    others = of_the_minute.order_by()[:MOST_COUNTED].count()
    if others < lint.MANY_AT_ONCE:
        return []
    return [f"At {iso(minute)} at least {others} other schedules fire in the same minute."]


def _findings(
    schedule: Schedule,
    durations: Sequence[timedelta],
    crowd: Mapping[datetime, int],
    idle: Mapping[UUID, str],
    *,
    now: datetime,
) -> list[Finding]:
    try:
        prospect = coming_rows.prospect(schedule)
        upstreams = _upstreams(schedule)
    except InvalidTriggerConfigError as error:
        return [Finding(BROKEN, f"Its settings cannot be used: {error}")]
    return lint.findings(
        Looked(
            now=now,
            prospect=prospect,
            enabled=schedule.enabled,
            overlap=OverlapPolicy(schedule.overlap_policy),
            catchup=CatchupPolicy(schedule.catchup_policy),
            catchup_limit=schedule.catchup_limit,
            task_config=schedule.task_config,
            limit_key=schedule.limit_key,
            unique_key=schedule.unique_key,
            run_ttl_ms=schedule.run_ttl_ms,
            durations=tuple(durations),
            crowd=crowd,
            idle_upstreams=tuple(idle[one] for one in upstreams if one in idle),
        )
    )


def _crowd(now: datetime) -> dict[datetime, int]:
    """How many schedules fire in each crowded minute."""
    look = upcoming.crowded(now=now, until=now + CROWDS_AHEAD)
    return {one.at: one.count for one in look}


def _upstreams(schedule: Schedule) -> list[UUID]:
    if schedule.trigger_type != TriggerType.DEPENDENT:
        return []
    config = parse_trigger_config(schedule.trigger_type, schedule.trigger_config)
    return [UUID(one) for one in config.upstreams] if isinstance(config, DependentConfig) else []


def _idle_upstreams(schedules: Sequence[Schedule]) -> dict[UUID, str]:
    """The names of the upstream schedules that are disabled or gone."""
    wanted: set[UUID] = set()
    for one in schedules:
        try:
            wanted.update(_upstreams(one))
        except InvalidTriggerConfigError:
            continue
    if not wanted:
        return {}
    found = Schedule.objects.in_bulk(list(wanted))
    idle = {id_: found[id_].name if id_ in found else str(id_) for id_ in wanted}
    return {id_: name for id_, name in idle.items() if id_ not in found or not found[id_].enabled}
