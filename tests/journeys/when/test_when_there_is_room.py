"""Limits of every kind, set and changed over REST while work waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executions_app.models import Execution
from scheduler_app import queues
from tests.journeys.scenario import reaches
from tests.journeys.when.door import Door
from tests.processes import System

pytestmark = pytest.mark.journey

MINUTE = timedelta(minutes=1)
MOST_OF_LOAD = 40
MOST_TRIES = 20
SCRIBE = {"goal": "write it down", "endpoints": ["nowhere"], "agent": "scribe"}
KINDS: dict[str, dict[str, Any]] = {
    "queue:high": {"priority": "high"},
    "agent:scribe": {"task_type": "agent", "act": SCRIBE},
    "task:slow": {"task_type": "slow"},
    "key:tenant:acme": {"limit_key": "tenant:{tenant}"},
}
ACME = {"tenant": "acme"}
ENDS = {"agent:scribe": "failed"}  # it runs, and has neither a model nor an endpoint to call


@pytest.fixture(autouse=True)
def no_limits_are_left(door: Door) -> Iterator[None]:
    yield
    for one in door.get("scheduler/limits")["results"]:
        door.delete(f"scheduler/limits/{one['id']}")


def limit(door: Door, key: str, **words: int) -> str:
    """Where the limit of this key, which is new, is changed."""
    made = door.post("scheduler/limits", {"key": key, **words})
    return f"scheduler/limits/{made['id']}"


def held(system: System, door: Door, triggered: dict[str, Any]) -> tuple[str, bool]:
    """What holds an execution, and whether its sentence for people names it."""

    def seen() -> dict[str, Any] | None:
        shown = door.execution(triggered)
        return shown if shown["held_by"] or shown["status"] != "pending" else None

    shown = system.until(seen, what="it is held, or queued")
    place = shown["held_by"] or ""
    key = place.partition(":")[2].removeprefix("key:")
    return place, bool(key) and key in shown["why"]


def test_each_kind_of_limit_holds_its_own_work_until_it_is_raised(
    system: System, door: Door
) -> None:
    places = {key: limit(door, key, max_concurrent=0) for key in KINDS}
    under = {key: door.create(key, overlap_policy="allow", **words) for key, words in KINDS.items()}
    free = door.create("free", overlap_policy="allow")

    waiting = {key: door.trigger(one, parameters=ACME) for key, one in under.items()}
    reaches(system, door.trigger(free)["execution_id"], "completed")
    holding = {key: held(system, door, one) for key, one in waiting.items()}
    for place in places.values():
        door.patch(place, {"max_concurrent": 1})

    assert holding == {key: (f"limit:{key}", True) for key in KINDS}
    for key, one in waiting.items():
        reaches(system, one["execution_id"], ENDS.get(key, "completed"))


def test_a_limit_of_the_whole_system_holds_all_until_it_is_lifted(
    system: System, door: Door
) -> None:
    place = limit(door, "system", max_concurrent=0)
    waiting = [door.trigger(door.create(f"of all {number}")) for number in (1, 2)]
    holding = [held(system, door, one) for one in waiting]

    door.delete(place)

    assert holding == [("limit:system", True)] * 2
    for one in waiting:
        reaches(system, one["execution_id"], "completed")


def test_a_limit_that_is_lowered_holds_what_comes_after(system: System, door: Door) -> None:
    place = limit(door, "task:slow", max_concurrent=8)
    busy = door.create("lowered", {"seconds": 1}, task_type="slow", overlap_policy="allow")

    before = [door.trigger(busy) for _ in range(3)]
    started = [reaches(system, one["execution_id"], "running") for one in before]
    door.patch(place, {"max_concurrent": 1})
    after = [door.trigger(busy) for _ in range(2)]
    holding = [held(system, door, one)[0] for one in after]

    assert len(started) == 3
    assert holding == ["limit:task:slow"] * 2
    ended = [reaches(system, one["execution_id"], "completed") for one in (*before, *after)]
    first, second = sorted(one.started_at for one in ended[3:] if one.started_at)
    assert all(one.completed_at and one.completed_at <= first for one in ended[:3])
    assert second - first >= timedelta(seconds=1)


def test_a_rate_of_each_key_is_its_own_and_holds_until_it_is_quicker(
    system: System, door: Door
) -> None:
    place = limit(door, "key:tenant:*", rate_count=1, rate_period_ms=31 * 86_400_000)
    often = door.create("rated", overlap_policy="allow", limit_key="tenant:{tenant}")

    tenants = ("acme", "acme", "hooli", "hooli")
    made = [door.trigger(often, parameters={"tenant": one}) for one in tenants]
    for one in (made[0], made[2]):
        reaches(system, one["execution_id"], "completed")
    holding = [held(system, door, one)[0] for one in (made[1], made[3])]
    door.patch(place, {"rate_period_ms": 100})

    assert holding == ["rate:key:tenant:acme", "rate:key:tenant:hooli"]
    for one in (made[1], made[3]):
        reaches(system, one["execution_id"], "completed")


def test_what_has_low_priority_grows_old_and_runs_while_high_work_never_ends(
    system: System, door: Door
) -> None:
    with load(system, door, "high"):
        low = door.create("grows old", priority="low")
        done = until(lambda one: one.queue == "high", system, door, of=low)

    assert passed_over(done, "high") > 0
    assert done.started_at is not None
    assert done.started_at - done.created_at >= timedelta(seconds=1)


def test_a_worker_that_looks_at_low_first_runs_it_while_critical_work_never_ends(
    system: System, door: Door
) -> None:
    low = system.worker("worker-low", threads=2, queues="low,normal,high")
    try:
        with load(system, door, "critical"):
            kept_room_for = door.create("kept room for", priority="low")
            done = until(
                lambda one: (
                    one.worker_id.split(":")[1] == str(low.pid) and passed_over(one, "critical") > 0
                ),
                system,
                door,
                of=kept_room_for,
            )
    finally:
        low.stop()
        del system.processes[low.name]

    assert done.status == "completed"


@contextmanager
def load(system: System, door: Door, priority: str) -> Iterator[None]:
    """Work of a priority that there is always more of than the workers can do."""
    until = datetime.now(UTC).replace(second=0, microsecond=0)
    endless = door.create(
        f"endless {priority}",
        {"seconds": 0.2},
        task_type="slow",
        priority=priority,
        schedule_type="interval",
        schedule_config={"interval_ms": 60_000},
        start_at=(until + 1440 * MINUTE).isoformat(),
    )
    path = f"scheduler/schedules/{endless['id']}/backfills"
    words = {"from": (until - 20_000 * MINUTE).isoformat(), "until": until.isoformat()}
    begun = door.post(path, {**words, "max_concurrent": MOST_OF_LOAD})
    system.until(lambda: queues.depths()[priority] > 0, what="work waits for workers")
    yield
    assert door.get(f"{path}/{begun['id']}")["status"] == "running"
    door.post(f"{path}/{begun['id']}/abort")


def until(
    is_so: Callable[[Execution], bool], system: System, door: Door, *, of: dict[str, Any]
) -> Execution:
    """One of a schedule that ran so, each once the one before has ended.

    Some run otherwise: a worker takes them in a moment in which its other queues are empty.
    """
    for _ in range(MOST_TRIES):
        done = reaches(system, door.trigger(of)["execution_id"], "completed")
        if is_so(done):
            return done
    raise AssertionError(f"Each of {MOST_TRIES} ran while nothing else wanted to")


def passed_over(done: Execution, priority: str) -> int:
    """How many of a priority were made before this one began, and had not begun by then."""
    made = Execution.objects.filter(priority=priority, created_at__lt=done.started_at)
    return made.exclude(started_at__lt=done.started_at).count()
