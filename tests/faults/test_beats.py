"""Beats in numbers, killed at random, and all away for a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from django.db.models import F

from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules, sending
from scheduler_app.models import FireRecord, Schedule
from tests.faults.failing_beats import FailingBeats
from tests.faults.late import HOUR, LAST_FIVE, MINUTE, STEP, TOO_LATE, late
from tests.faults.nemesis import Nemesis
from tests.journeys.scenario import every, schedule
from tests.journeys.test_dispatch import fires, force
from tests.processes import LONGEST_SECONDS, System

pytestmark = pytest.mark.fault

SECOND = timedelta(seconds=1)
BEATS = ("beat", "beat-2", "beat-3")
LONG_WAIT_SECONDS: Final = 0.2  # twice what the plan says, for a slow machine
FEW: Final = 0.01
# The longest that a message may be lost, while its queue holds others; the round in which a beat
# looks for such, and a second for its worker, these twice as long for a slow machine.
SENT_AGAIN: Final = timedelta(seconds=sending.BUSY_QUEUE_GRACE_SECONDS + 2 * (2 + 1))


class Ordeal(NamedTuple):
    """So many schedules, each of which fires every so many seconds, for so long."""

    schedules: int
    period: int
    seconds: float


def steady(count: int, *, period: int = 1) -> list[Schedule]:
    """Schedules of which every fire must run, however late."""
    policy = {"overlap_policy": "allow", "catchup_policy": "all", "catchup_limit": 100}
    return [schedule(**every(period, **policy)) for _ in range(count)]


def grid(of: Schedule, until: datetime) -> list[datetime]:
    """The oracle: by its definition an interval fires at anchor + k times its length."""
    step = timedelta(milliseconds=of.schedule_config["interval_ms"])
    return [of.anchor_at + step * k for k in range(1, (until - of.anchor_at) // step + 1)]


def wait_for(system: System, moment: datetime) -> None:
    seconds = (moment - datetime.now(UTC)).total_seconds() + LONGEST_SECONDS
    system.until(lambda: datetime.now(UTC) >= moment, what="the moment has come", seconds=seconds)


def wait_for_fires(system: System, of: Iterable[Schedule], *, until: datetime) -> None:
    """Until every nominal instant before `until` has been looked at; then no more fires."""
    ids = [one.id for one in of]
    system.until(
        lambda: not Schedule.objects.filter(id__in=ids, next_run_at__lte=until).exists(),
        what="every fire was looked at",
    )
    for one in ids:
        schedules.disable(one, actor=SYSTEM)


def assert_each_fire_ran_once(system: System, of: Sequence[Schedule]) -> None:
    for one in of:
        seen = [fire.nominal_at for fire in fires(one)]
        assert seen == grid(one, max(seen))
        assert {fire.reason for fire in fires(one)} == {"dispatched"}
        counted = Schedule.objects.get(id=one.id).fired_count
        assert counted == len(seen), "several beats did the work of one"
    ids = [one.id for one in of]
    ran = Execution.objects.filter(schedule_id__in=ids)
    assert ran.count() == FireRecord.objects.filter(schedule_id__in=ids).count()
    system.until(lambda: not ran.exclude(status="completed").exists(), what="all completed")
    assert set(ran.values_list("attempt", flat=True)) == {1}


@pytest.mark.parametrize(
    "ordeal",
    [
        pytest.param(Ordeal(30, 1, 5.0), id="five seconds"),
        pytest.param(Ordeal(200, 3, 600.0), id="ten minutes", marks=pytest.mark.long),
    ],
)
def test_three_beats_at_once_fire_everything_exactly_once(
    system: System, nemesis: Nemesis, ordeal: Ordeal
) -> None:
    for name in BEATS:
        system.beat(name)
    system.wait_ready()

    many = steady(ordeal.schedules, period=ordeal.period)
    until = datetime.now(UTC) + timedelta(seconds=ordeal.seconds)
    wait_for(system, until)
    wait_for_fires(system, many, until=until)

    waited = nemesis.watched.share_of_waits(LONG_WAIT_SECONDS)
    for name in BEATS[1:]:
        system.processes[name].kill()
    assert_each_fire_ran_once(system, many)
    assert ordeal.seconds < 60 or waited <= FEW


@pytest.mark.parametrize(
    "kills", [6, pytest.param(50, marks=pytest.mark.long)], ids=["six times", "fifty times"]
)
def test_beats_killed_at_random_lose_no_fire_and_double_none(
    system: System, nemesis: Nemesis, kills: int
) -> None:
    chance = nemesis.chance
    for name in BEATS[:2]:
        system.beat(name)
    system.wait_ready()
    many = steady(20)
    killed: Counter[str] = Counter()

    for _ in range(kills):
        name = chance.choice(BEATS[:2])
        moment = datetime.now(UTC) + timedelta(seconds=chance.uniform(0.2, 1.2))
        wait_for(system, moment)
        system.beat(name).kill()
        system.beat(name)
        killed[name] += 1

    wait_for_fires(system, many, until=datetime.now(UTC) + SECOND)
    system.processes[BEATS[1]].kill()
    assert killed.total() == kills
    assert_each_fire_ran_once(system, many)


@pytest.mark.long
def test_what_a_beat_had_committed_and_not_sent_is_sent_by_another(
    system: System, nemesis: Nemesis
) -> None:
    failing = FailingBeats(system, seed=nemesis.seed, seconds=(0.2, 2.0))
    many = steady(20)
    dying = failing.start("dying", "committed", "half sent")

    system.until(lambda: failing.deaths().total() >= 10, what="it has died ten times", seconds=180)
    dying.kill()

    wait_for_fires(system, many, until=datetime.now(UTC))
    assert_each_fire_ran_once(system, many)
    ran = Execution.objects.filter(schedule_id__in=[one.id for one in many])
    late_ones = ran.filter(started_at__gt=F("queued_at") + SENT_AGAIN)
    nemesis.found(f"#{one.number} waited until {one.started_at}" for one in late_ones)


def test_after_a_hundred_minutes_without_a_beat_each_policy_gets_exactly_its_runs(
    system: System,
) -> None:
    system.beat().kill()
    # The eleventh fire is too late to be on time, the twelfth is due in almost ten minutes.
    first = datetime.now(UTC).replace(microsecond=0) - 10 * STEP - TOO_LATE
    cases = late(first)

    system.beat()

    ids = [one.id for one, _ in cases.values()]
    total = sum(sum(wanted.values()) for _, wanted in cases.values())
    system.until(
        lambda: FireRecord.objects.filter(schedule_id__in=ids).count() >= total,
        what="every missed fire has its record",
    )
    for name, (one, wanted) in cases.items():
        records = fires(one)
        assert [each.nominal_at for each in records] == [
            first + STEP * k for k in range(sum(wanted.values()))
        ], name
        assert Counter(each.reason for each in records) == wanted, name
        ran = [each.nominal_at for each in records if each.reason == "dispatched"]
        assert len(ran) == Execution.objects.filter(schedule_id=one.id).count()
    finished = {name for name, (one, _) in cases.items() if not is_enabled(one)}
    assert finished == {"three runs at most", "until the fifth", "the latest until the fifth"}
    left = Execution.objects.filter(schedule_id__in=ids).exclude(status="completed")
    tomorrow = cases["a window that opens again tomorrow"][0]
    system.until(
        lambda: not left.exclude(schedule_id=tomorrow.id).exists(), what="what may run has run"
    )
    opens_at = (first - HOUR).replace(second=0) + timedelta(days=1)
    assert set(left.values_list("status", "due_at")) == {("pending", opens_at)}


def is_enabled(of: Schedule) -> bool:
    return Schedule.objects.get(id=of.id).enabled


@pytest.mark.long  # `tests/executions_app/test_expiry` does it without processes
def test_late_fires_that_wait_too_long_for_each_other_expire(system: System, gate: Path) -> None:
    system.beat().kill()
    policy = {**LAST_FIVE, "overlap_policy": "buffer_all", "run_ttl_ms": 4000}
    one = schedule({"until": str(gate)}, **every(60, **policy))
    first = datetime.now(UTC) - timedelta(seconds=620)
    force(one, anchor_at=first - MINUTE, next_run_at=first)

    system.beat()

    made = Execution.objects.filter(schedule_id=one.id)
    system.until(
        lambda: made.filter(status="cancelled", outcome="expired").count() == 4,
        what="what was not started in time is cancelled",
    )
    gate.touch()
    system.until(lambda: made.filter(status="completed").exists(), what="the first one has ended")
    oldest = made.order_by("nominal_at").values_list("status", flat=True)
    assert list(oldest) == ["completed", *["cancelled"] * 4]


def test_a_week_of_missed_minutes_is_a_hundred_records_and_a_summary(system: System) -> None:
    system.beat().kill()
    long_away = schedule(**every(60))
    first = datetime.now(UTC) - timedelta(days=7, seconds=20)
    force(long_away, anchor_at=first - timedelta(seconds=60), next_run_at=first)

    system.beat()

    system.until(lambda: fires(long_away), what="the missed fires have their records")
    records = fires(long_away)
    summary = records[0]
    assert summary.nominal_at == first
    assert summary.nominal_until is not None
    assert sum(one.count for one in records) == 7 * 24 * 60 + 1
    assert 100 <= len(records) <= 102
    assert Counter(one.reason for one in records[-2:]) == {"missed_coalesced": 1, "dispatched": 1}
    assert Execution.objects.filter(schedule_id=long_away.id).count() == 1
