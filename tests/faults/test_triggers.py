"""Beats killed while outcomes and events start executions: each of them exactly once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executions_app.audit import SYSTEM
from executions_app.models import Event, Execution, OutcomeInbox
from scheduler_app import schedules
from scheduler_app.models import FireRecord, Schedule
from tests.faults.nemesis import Nemesis
from tests.journeys.scenario import every, schedule
from tests.processes import System

pytestmark = [pytest.mark.fault, pytest.mark.long]  # `test_when` has dependents and listeners too

UPSTREAMS = 8
BEATS = ("beat", "beat-2")
PREFIX = "upstream-"


def on(trigger_type: str, config: dict[str, Any], **words: Any) -> Schedule:
    return schedule(
        trigger_type=trigger_type, trigger_config=config, overlap_policy="allow", **words
    )


def completed(of: Schedule) -> set[str]:
    ended = Execution.objects.filter(schedule_id=of.id, status="completed")
    return {str(one) for one in ended.values_list("id", flat=True)}


def wait_for(system: System, moment: datetime) -> None:
    system.until(lambda: datetime.now(UTC) >= moment, what="the moment has come")


def nothing_is_left() -> bool:
    is_heard = not Execution.objects.exclude(status="completed").exists()
    return is_heard and not OutcomeInbox.objects.exists()


def test_beats_killed_at_random_start_each_dependent_and_listener_once(
    system: System, nemesis: Nemesis
) -> None:
    chance = nemesis.chance
    system.beat(BEATS[1])
    system.wait_ready()
    listener = on(
        "event_driven",
        {
            "source": "internal",
            "event": "execution:completed",
            "filter": {"data.name": {"matches": f"{PREFIX}*"}},
        },
    )
    steady = [
        schedule(name=f"{PREFIX}{n}", **every(1, overlap_policy="allow")) for n in range(UPSTREAMS)
    ]
    after = [on("dependent", {"upstreams": [one.name]}) for one in steady]
    pairs = [
        on("dependent", {"upstreams": [a.name, b.name], "mode": "all"})
        for a, b in zip(steady[::2], steady[1::2], strict=True)
    ]

    for _ in range(8):
        moment = datetime.now(UTC) + timedelta(seconds=chance.uniform(0.2, 1.0))
        wait_for(system, moment)
        name = chance.choice(BEATS)
        system.beat(name).kill()
        system.beat(name)
    for one in steady:
        schedules.disable(one.id, actor=SYSTEM)

    system.until(nothing_is_left, what="everything has run", seconds=60)
    expected = {one.id: completed(one) for one in steady}
    whole = sum(map(len, expected.values()))
    system.until(lambda: len(heard(listener)) >= whole, what="every end was heard", seconds=60)
    system.processes[BEATS[1]].kill()
    assert whole >= UPSTREAMS
    for one, then in zip(steady, after, strict=True):
        assert Counter(causes(then)) == Counter(f"dependency:{id_}" for id_ in expected[one.id])
        assert Execution.objects.filter(schedule_id=then.id).count() == len(expected[one.id])
    for pair in pairs:
        started = Execution.objects.filter(schedule_id=pair.id).count()
        assert started == len(causes(pair)) == len(set(causes(pair)))
        assert started >= 1
    ended = {id_ for ids in expected.values() for id_ in ids}
    assert Counter(heard(listener)) == Counter(ended)
    assert not Event.objects.filter(type="schedule:start_refused").exists()


def causes(of: Schedule) -> list[str]:
    return list(FireRecord.objects.filter(schedule_id=of.id).values_list("cause", flat=True))


def heard(listener: Schedule) -> list[str]:
    started = Execution.objects.filter(schedule_id=listener.id)
    return [one["event"]["execution_id"] for one in started.values_list("parameters", flat=True)]
