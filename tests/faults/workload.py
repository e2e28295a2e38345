"""Schedules of every kind that all fire without an exception, and what must have come of them.

The oracle knows nothing of the product's next-run function: an interval fires at anchor + k times
its length, `*/n * * * *` whenever the clock of its zone shows a whole minute that n divides.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection

from executions_app.audit import SYSTEM
from executions_app.models import Event, Execution
from scheduler_app.limiting import limits
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.policies import TriggerType
from tests.faults.sampling import most_at_once
from tests.journeys.scenario import every, retries, schedule
from tests.processes import System

POLICY: Final[dict[str, Any]] = {
    "catchup_policy": "all",
    "catchup_limit": 100,
    "retry_policy": retries(5),
}
ALL: Final[dict[str, Any]] = {**POLICY, "overlap_policy": "allow"}
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")
TENANTS: Final = ("acme", "initech", "hooli")
OF_A_TENANT: Final = 3
OF_A_SCHEDULE: Final = 2
OF_LOW: Final = 4
HEARD: Final = "heard-"
MINUTE: Final = timedelta(minutes=1)
# One statement: what is written down so far stays the last of each schedule.
END_ALL: Final = """
WITH locked AS (
    SELECT id FROM task_schedules WHERE trigger_type = 'time_based' ORDER BY id FOR UPDATE
)
UPDATE task_schedules SET enabled = false WHERE id IN (SELECT id FROM locked)
"""
# In one look: what the last outcome starts is there as soon as the outcome is gone.
IS_LEFT: Final = """
SELECT EXISTS (SELECT FROM task_executions WHERE status <> 'completed')
    OR EXISTS (SELECT FROM outcome_inbox)
"""


@dataclass
class Workload:
    """What was made; `timed` fire by the clock, the others because of those."""

    timed: list[Schedule] = field(default_factory=list)
    buffered: list[Schedule] = field(default_factory=list)
    dependents: list[tuple[Schedule, Schedule]] = field(default_factory=list)
    pairs: list[Schedule] = field(default_factory=list)
    listeners: list[Schedule] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)


def make(size: int, *, seed: int) -> Workload:
    """`size` schedules: more than half of them plain, the rest of every other kind."""
    chance = random.Random(seed)
    made = Workload(limits={"queue:low": OF_LOW, **{f"key:{one}": OF_A_TENANT for one in TENANTS}})
    limits.put(limits.parse({"key": "key:*", "max_concurrent": OF_A_TENANT}), actor=SYSTEM)
    limits.put(limits.parse({"key": "queue:low", "max_concurrent": OF_LOW}), actor=SYSTEM)
    share = max(2, size // 16)
    some = max(2, share // 4)
    others = 7 * share + 2 * some + 2
    steady = [schedule(**_often(chance), **ALL) for _ in range(size - others)]
    heard = [schedule(name=f"{HEARD}{n}", **_often(chance), **ALL) for n in range(some)]
    made.timed = [*steady, *heard, *_of_other_kinds(share, chance, made)]
    _add_followers(made, steady, chance, share=share, pairs=some)
    return made


def _of_other_kinds(share: int, chance: random.Random, made: Workload) -> Iterator[Schedule]:
    for _ in range(share):
        cron = {"cron": chance.choice(["* * * * *", "*/2 * * * *"])}
        zone = chance.choice(ZONES)
        yield schedule(schedule_type="cron", schedule_config=cron, timezone=zone, **ALL)
        offsets: dict[str, Any] = {"jitter_ms": 1500, "spread_ms": 500}
        yield schedule(**_often(chance), **ALL, **offsets)
        yield schedule({"seconds": 0.05}, **_often(chance), **ALL, limit_key=chance.choice(TENANTS))
        yield schedule(**_often(chance), **ALL, priority="low")
        buffering: dict[str, Any] = {"overlap_policy": "buffer_all", "buffer_limit": 10_000}
        buffered = schedule({"seconds": 0.1}, **_often(chance), **POLICY, **buffering)
        made.buffered.append(buffered)
        yield buffered
        own = schedule({"seconds": 0.3}, **every(2), **ALL, max_concurrent=OF_A_SCHEDULE)
        made.limits[f"schedule:{own.id}"] = OF_A_SCHEDULE
        yield own


def _often(chance: random.Random) -> dict[str, Any]:
    return every(chance.randint(2_000, 5_000) / 1000)


def _add_followers(
    made: Workload, steady: Sequence[Schedule], chance: random.Random, *, share: int, pairs: int
) -> None:
    """Dependents, the first of them with one of its own; pairs; who listens."""
    for upstream in chance.sample(list(steady), share):
        made.dependents.append((upstream, _after(upstream)))
    first = made.dependents[0][1]
    made.dependents.append((first, _after(first)))
    made.pairs = [_after(*chance.sample(list(steady), 2), mode="all") for _ in range(pairs)]
    config = {
        "source": "internal",
        "event": "execution:completed",
        "filter": {"data.name": {"matches": f"{HEARD}*"}},
    }
    made.listeners = [_started("event_driven", config)]


def _after(*upstreams: Schedule, **words: str) -> Schedule:
    return _started("dependent", {"upstreams": [str(one.id) for one in upstreams], **words})


def _started(trigger_type: str, config: Mapping[str, Any]) -> Schedule:
    return schedule(
        trigger_type=trigger_type,
        trigger_config=config,
        overlap_policy="allow",
        retry_policy=retries(5),
    )


def end(system: System, *, at: datetime) -> None:
    """No more fires once everything up to `at` was looked at; then all that there is runs out."""
    overdue = Schedule.objects.filter(enabled=True, next_run_at__lte=at)
    system.until(lambda: not overdue.exists(), what="every fire was looked at", seconds=120)
    with connection.cursor() as cursor:
        cursor.execute(END_ALL)
    system.until(_is_quiet, what="everything has run", seconds=240)


def _is_quiet() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(IS_LEFT)
        if cursor.fetchone()[0]:
            return False
    ended = Execution.objects.filter(snapshot__name__startswith=HEARD).count()
    return Execution.objects.filter(trigger="event").count() >= ended


def violations(system: System, made: Workload) -> list[str]:
    """Everything that is not as the oracle says."""
    return [
        *_wrong_fires(made),
        *_wrong_executions(system),
        *_wrong_followers(made),
        *_wrong_counts(),
        *_wrong_crowds(system, made),
    ]


def _wrong_fires(made: Workload) -> Iterator[str]:
    seen: defaultdict[UUID, list[datetime]] = defaultdict(list)
    rows = FireRecord.objects.filter(cause="").order_by("nominal_at")
    for schedule_id, nominal_at, reason in rows.values_list("schedule_id", "nominal_at", "reason"):
        seen[schedule_id].append(nominal_at)
        if reason != "dispatched":
            yield f"{schedule_id} at {nominal_at}: {reason}"
    for one in Schedule.objects.filter(id__in=[each.id for each in made.timed]):
        assert one.next_run_at is not None
        wanted = list(_oracle(one, until=one.next_run_at))
        if [*seen[one.id], one.next_run_at] != wanted:
            found = set(seen[one.id])
            missed = sorted(set(wanted[:-1]) - found)[:3]
            doubled = [at for at, times in Counter(seen[one.id]).items() if times > 1][:3]
            unknown = sorted(found - set(wanted[:-1]))[:3]
            yield f"{one.name}: missed {missed}, doubled {doubled}, not its own {unknown}"


def _oracle(one: Schedule, *, until: datetime) -> Iterator[datetime]:
    """Its fires, up to and including the first at or after `until`."""
    if one.schedule_type == "interval":
        step = timedelta(milliseconds=one.schedule_config["interval_ms"])
        at = one.anchor_at + step
        is_fire = True
    else:
        step = MINUTE
        at = one.created_at.replace(second=0, microsecond=0) + MINUTE
    minutes = {"*": 1, "*/2": 2}
    while True:
        if one.schedule_type == "cron":
            shown = at.astimezone(ZoneInfo(one.timezone)).minute
            is_fire = shown % minutes[one.schedule_config["cron"].split()[0]] == 0
        if is_fire:
            yield at
            if at >= until:
                return
        at += step


def _wrong_executions(system: System) -> Iterator[str]:
    fires = FireRecord.objects.filter(cause="").count()
    executions = Execution.objects.filter(trigger="time").count()
    if fires != executions:
        yield f"{fires} fires, {executions} executions"
    completions = Counter(
        Event.objects.filter(type="execution:completed").values_list("execution_id", flat=True)
    )
    ended = Counter(one["execution"] for one in system.entries() if one["what"] == "ended")
    rows = Execution.objects.values_list("id", "number", "status", "attempt")
    for id_, number, status, attempt in rows:
        if status != "completed" or completions[id_] != 1:
            yield f"#{number} is {status} and was completed {completions[id_]} times"
        if attempt == 1 and ended[str(id_)] != 1:
            yield f"#{number} was tried once and ran {ended[str(id_)]} times"


def _wrong_followers(made: Workload) -> Iterator[str]:
    for upstream, then in made.dependents:
        ended = Execution.objects.filter(schedule_id=upstream.id).values_list("id", flat=True)
        causes = Counter(f"dependency:{one}" for one in ended)
        if Counter(_causes(then)) != causes:
            yield f"{then.name} after {upstream.name}: {len(_causes(then))} of {len(causes)}"
        yield from _not_one_each(then)
    for pair in made.pairs:
        yield from _not_one_each(pair)
    heard = Execution.objects.filter(snapshot__name__startswith=HEARD)
    wanted = Counter(str(one) for one in heard.values_list("id", flat=True))
    for listener in made.listeners:
        parameters = Execution.objects.filter(schedule_id=listener.id).values_list("parameters")
        if Counter(one["event"]["execution_id"] for (one,) in parameters) != wanted:
            yield f"{listener.name} heard {len(parameters)} of {len(wanted)}"


def _not_one_each(then: Schedule) -> Iterator[str]:
    causes, made = _causes(then), Execution.objects.filter(schedule_id=then.id).count()
    if not causes or len(set(causes)) != len(causes) or made != len(causes):
        yield f"{then.name}: {len(causes)} causes, {len(set(causes))} different, {made} executions"


def _causes(of: Schedule) -> list[str]:
    return list(FireRecord.objects.filter(schedule_id=of.id).values_list("cause", flat=True))


def _wrong_counts() -> Iterator[str]:
    """Statistics count every outcome once, and every start."""
    ran = Counter(Execution.objects.values_list("schedule_id", flat=True))
    for one in Schedule.objects.exclude(trigger_type=TriggerType.MANUAL):
        if not one.run_count == one.success_count == one.fired_count == ran[one.id]:
            counted = f"{one.run_count} runs, {one.success_count} good, {one.fired_count} fired"
            yield f"{one.name} counts {counted}; there are {ran[one.id]}"


def _wrong_crowds(system: System, made: Workload) -> Iterator[str]:
    """Handlers of one key that ran at once, by their own notes."""
    buffered = {one.id for one in made.buffered}
    keys: dict[str, str] = {}
    for id_, schedule_id, key in Execution.objects.values_list("id", "schedule_id", "limit_key"):
        of_schedule = f"schedule:{schedule_id}"
        if schedule_id in buffered or of_schedule in made.limits:
            keys[str(id_)] = of_schedule
        elif key:
            keys[str(id_)] = f"key:{key}"
    for key, most in most_at_once(system.entries(), keys).items():
        if most > made.limits.get(key, 1):
            yield f"{key}: {most} handlers at once"
