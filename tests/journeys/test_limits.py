"""Limits, rates and unique work on real beats and workers: what the handlers saw of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions_app import lifecycle
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import by_hand, schedules
from scheduler_app.by_hand import Wanted
from scheduler_app.limiting import limits
from scheduler_app.limiting.limits_in_force import FRESH_SECONDS
from scheduler_app.models import Limit
from tests.journeys.scenario import begun, one, reaches, schedule
from tests.processes import System

pytestmark = pytest.mark.journey
BRIEF = {"seconds": 0.02}
EVERY_SO_OFTEN = {"schedule_type": "interval", "schedule_config": {"interval_ms": 1_000}}


@pytest.fixture(autouse=True)
def no_limits_are_left() -> Iterator[None]:
    yield
    for key in Limit.objects.values_list("key", flat=True):
        limits.remove(key, actor=SYSTEM)


def limit(key: str, **words: int) -> None:
    """Set a limit and wait until it holds everywhere: what a beat knows is up to a second old."""
    limits.put(limits.parse({"key": key, **words}), actor=SYSTEM)
    time.sleep(1.5 * FRESH_SECONDS)


def most_at_once(system: System, *, since: int) -> int:
    """How many runs were begun and not ended, at most, as their handlers wrote it down.

    `since` is the number of entries before them.
    """
    running, most = 0, 0
    for entry in system.entries()[since:]:
        running += 1 if entry["what"] == "began" else -1
        most = max(most, running)
    return most


def test_three_beats_keep_a_limit_and_let_everything_through(system: System, gate: Path) -> None:
    busy = schedule({"until": str(gate), **BRIEF}, overlap_policy="allow", limit_key="host:{host}")
    before = len(system.entries())
    others = [system.beat(f"beat_{number}") for number in (2, 3)]
    try:
        limit("key:host:*", max_concurrent=2)
        wanted = Wanted({"host": "a"})
        made = [by_hand.trigger(busy, wanted, actor=SYSTEM).execution_id for _ in range(12)]
        held = Execution.objects.filter(id__in=made, held_by="limit:key:host:a")
        system.until(lambda: held.count() == len(made) - 2, what="there is room for two")
        system.wait_ready()
        gate.touch()
        for execution_id in made:
            reaches(system, execution_id, "completed")
    finally:
        for beat in others:
            beat.stop()
            del system.processes[beat.name]

    assert most_at_once(system, since=before) <= 2


def test_a_schedules_own_limit_holds_its_fires_too(system: System) -> None:
    slow = schedule({"seconds": 1.5}, overlap_policy="allow", max_concurrent=1, **EVERY_SO_OFTEN)
    place = f"limit:schedule:{slow.id}"

    system.until(
        lambda: Execution.objects.filter(schedule_id=slow.id, held_by=place).exists(),
        what="a fire waits for the one before",
    )

    active = Execution.objects.filter(schedule_id=slow.id, status__in=["queued", "running"])
    assert active.count() <= 1


def test_a_rate_holds_what_comes_too_soon(system: System) -> None:
    limit("task:act", rate_count=2, rate_period_ms=3_600_000)
    often = schedule(overlap_policy="allow")

    made = [schedules.trigger(often, actor=SYSTEM) for _ in range(4)]

    # Which two is not said: one that the beat is looking at lets the next one pass.
    held = Execution.objects.filter(id__in=made, held_by="rate:task:act")
    system.until(lambda: held.count() == 2, what="two wait for the rate")
    for execution_id in set(made) - set(held.values_list("id", flat=True)):
        reaches(system, execution_id, "completed")
    assert held.count() == 2


def test_work_that_replaces_waits_until_the_running_one_has_stopped(system: System) -> None:
    replacing = schedule(
        {"until": str(system.folder / "never")}, unique_key="the one", unique_mode="replace"
    )
    first = schedules.trigger(replacing, actor=SYSTEM)
    system.until(lambda: begun(system, first), what="the first runs")

    second = schedules.trigger(replacing, actor=SYSTEM)

    reaches(system, first, "cancelled")
    system.until(lambda: begun(system, second), what="the second runs")
    lifecycle.cancel(one(second))
    reaches(system, second, "cancelled")


def test_what_is_not_started_in_time_expires(system: System) -> None:
    limit("task:act", max_concurrent=0)
    hasty = schedule(run_ttl_ms=1_000)

    late = schedules.trigger(hasty, actor=SYSTEM)

    assert reaches(system, late, "cancelled").outcome == "expired"
    assert begun(system, late) == 0
