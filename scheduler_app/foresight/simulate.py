"""`simulate`: the days ahead with the real rules and policies, touching nothing.

Reads what is stored (schedules, recorded durations, limits, what is active) and hands it to
`simulation`. What nobody can know is left out and named in `ASSUMED`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.contrib.auth.models import AbstractUser
from django.db.models import Q

from executions_app import clock, ownership
from executions_app.holding import Candidate
from executions_app.models import Execution
from executions_app.states import ACTIVE
from scheduler_app import coming_rows, next_run, rules
from scheduler_app.coming import Prospect
from scheduler_app.foresight import recorded
from scheduler_app.foresight.simulated import Actor
from scheduler_app.foresight.simulation import Progress, World
from scheduler_app.foresight.simulation_measures import Measures
from scheduler_app.limiting import key_templates, limits_in_force
from scheduler_app.models import Schedule
from scheduler_app.next_run import InvalidTriggerConfigError
from scheduler_app.policies import OverlapPolicy, TriggerType
from scheduler_app.rules import OneTimeRule
from scheduler_app.sources.config import DependentConfig, parse_trigger_config

MOST_DAYS: Final = 366
MOST_FIRES: Final = 5_000_000
MOST_SCHEDULES: Final = 100_000
SLOTS: Final = 1_000
"""What one worker of the shape that the Procfile starts runs at once."""
INSTANT: Final = timedelta(microseconds=1)
UNRECORDED: Final = timedelta(seconds=1)
ASSUMED: Final = (
    "every execution succeeds at its first attempt",
    "an execution takes as long as the recorded ones of its schedule, in turn",
    "nothing is started by hand, by events or by backfills",
    "the system dispatches all the time; nobody edits, pauses or resumes a schedule",
    "of the limits only those on how many run at once hold; rates and unique keys do not",
)


def run(
    user: AbstractUser | None,
    *,
    begin: datetime,
    until: datetime,
    slots: int = SLOTS,
    unrecorded: timedelta = UNRECORDED,
    progress: Progress | None = None,
) -> Measures:
    """What happens from `begin` to `until` to the schedules of `user`, or of everybody.

    `unrecorded` is how long an execution takes of whose schedule and task type none is recorded.
    """
    actors, limits = read(user, unrecorded=unrecorded)
    if begin > clock.now():
        actors = [_at(one, begin) for one in actors]
    world = World(actors, begin=begin, end=until, slots=slots, limits=limits)
    return world.run(most_fires=MOST_FIRES, progress=progress)


def _at(actor: Actor, begin: datetime) -> Actor:
    """The actor at an instant to come: what is active now has ended, what is due has fired."""
    prospect = actor.prospect
    next_at = prospect.next_run_at
    if next_at is not None and next_at < begin:
        next_at = next_run.next_run(prospect.rule, prospect.zone, begin - INSTANT)
    return replace(actor, prospect=replace(prospect, next_run_at=next_at), active=0)


def read(user: AbstractUser | None, *, unrecorded: timedelta) -> tuple[list[Actor], dict[str, int]]:
    """The schedules that time or other schedules start, and the room under their limits."""
    dependent = Q(trigger_type=TriggerType.DEPENDENT)
    chosen = Schedule.objects.filter(dependent | Q(next_run_at__isnull=False), enabled=True)
    if user is not None:
        chosen = ownership.visible_to(user, chosen)
    rows = list(chosen.select_related("calendar").order_by("id")[:MOST_SCHEDULES])
    durations = _durations(rows, unrecorded)
    active = _active([one.id for one in rows])
    limits: dict[str, int] = {}
    actors = []
    for row in rows:
        try:
            prospect = coming_rows.prospect(row) or _untimed(row)
        except InvalidTriggerConfigError:
            continue  # the dispatcher disables it
        keys = _keys(row, limits)
        actors.append(_actor(row, prospect, durations[row.id], keys, active[row.id]))
    return actors, limits


def _actor(
    row: Schedule,
    prospect: Prospect,
    durations: Sequence[timedelta],
    keys: tuple[str, ...],
    active: int,
) -> Actor:
    upstreams, needs_all = _upstreams(row)
    return Actor(
        prospect=prospect,
        overlap=OverlapPolicy(row.overlap_policy),
        durations=durations,
        priority=row.priority,
        buffer_limit=row.buffer_limit,
        run_ttl=None if row.run_ttl_ms is None else timedelta(milliseconds=row.run_ttl_ms),
        keys=keys,
        upstreams=upstreams,
        needs_all=needs_all,
        active=active,
    )


def _untimed(row: Schedule) -> Prospect:
    """A schedule that time never starts."""
    never = OneTimeRule(row.created_at)
    zone = rules.zone(row.timezone)
    return Prospect(row.id, row.name, never, zone, None, doors=coming_rows.doors(row))


def _upstreams(row: Schedule) -> tuple[frozenset[UUID], bool]:
    """What it depends on, if the success of that starts it."""
    config = parse_trigger_config(row.trigger_type, row.trigger_config)
    if not isinstance(config, DependentConfig) or config.on == "failure":
        return frozenset(), False
    return frozenset(UUID(one) for one in config.upstreams), config.mode == "all"


def _durations(
    rows: Sequence[Schedule], unrecorded: timedelta
) -> Mapping[UUID, Sequence[timedelta]]:
    """Its own recorded durations, else the median of its task type, else `unrecorded`."""
    known = recorded.durations([one.id for one in rows])
    of_type: dict[str, list[timedelta]] = {}
    for row in rows:
        of_type.setdefault(row.task_type, []).extend(known.get(row.id, ()))
    usual = {name: recorded.at(some, 0.5) for name, some in of_type.items() if some}
    return {row.id: known.get(row.id) or [usual.get(row.task_type, unrecorded)] for row in rows}


def _active(schedule_ids: Iterable[UUID]) -> Counter[UUID | None]:
    chosen = Execution.objects.filter(schedule_id__in=list(schedule_ids), status__in=ACTIVE)
    return Counter(chosen.order_by().values_list("schedule_id", flat=True))


def _keys(row: Schedule, limits: dict[str, int]) -> tuple[str, ...]:
    """The limits on how many run at once that it is under; what is new goes into `limits`."""
    keys = []
    for one in limits_in_force.now().over(_candidate(row), own=row.max_concurrent):
        if one.most is not None:
            limits.setdefault(one.key, one.most)
            keys.append(one.key)
    return tuple(keys)


def _candidate(row: Schedule) -> Candidate:
    """An execution of the schedule, as the limits see it."""
    agent = row.task_config.get("agent")
    now = row.updated_at
    return Candidate(
        id=row.id,
        queue=row.priority,
        priority=row.priority,
        attempt=0,
        limit_key=key_templates.render_known(row.limit_key, row.task_config),
        schedule_id=str(row.id),
        task_type=row.task_type,
        agent=agent if isinstance(agent, str) else None,
        travels_alone=False,
        held_by="",
        due_at=now,
        now=now,
        is_limited=True,
    )
