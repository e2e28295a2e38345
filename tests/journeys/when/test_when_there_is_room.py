"""Limits of every kind, set and changed over REST while work waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from executions_app.models import Execution
from scheduler_app import queues
from scheduler_app.limiting.limits_in_force import FRESH_SECONDS
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


@pytest.fixture(scope="module")
def places(door: Door) -> Iterator[dict[str, str]]:
    """Where the limit of each key is changed; all are known everywhere.

    What a beat knows of a new limit is up to a second old, but changes of one that it knows hold at
    once. Work that is under none comes first in this module.
    """
    words = {key: {"max_concurrent": 0} for key in KINDS} | {"system": {"max_concurrent": 1_000}}
    words["key:rated:*"] = {"rate_count": 1, "rate_period_ms": 31 * 86_400_000}
    made = {key: door.post("scheduler/limits", {"key": key, **some}) for key, some in words.items()}
    time.sleep(1.5 * FRESH_SECONDS)
    yield {key: f"scheduler/limits/{one['id']}" for key, one in made.items()}
    for left in door.get("scheduler/limits")["results"]:
        door.delete(f"scheduler/limits/{left['id']}")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def held(system: System, door: Door, triggered: dict[str, Any]) -> tuple[str, bool]:
    """What holds an execution, and whether its sentence for people names it."""

    def seen() -> dict[str, Any] | None:
        shown = door.execution(triggered)
        return shown if shown["held_by"] or shown["status"] != "pending" else None

    shown = system.until(seen, what="it is held, or queued")
    place = shown["held_by"] or ""
    key = place.partition(":")[2].removeprefix("key:")
    return place, bool(key) and key in shown["why"]


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


def test_a_limit_of_the_whole_system_holds_all_until_it_is_lifted(
    system: System, door: Door, places: dict[str, str]
) -> None:
    door.patch(places["system"], {"max_concurrent": 0})
    waiting = [door.trigger(door.create(f"of all {number}")) for number in (1, 2)]
    holding = [held(system, door, one) for one in waiting]

    door.delete(places["system"])

    assert holding == [("limit:system", True)] * 2
    for one in waiting:
        reaches(system, one["execution_id"], "completed")


def test_each_kind_of_limit_holds_its_own_work_until_it_is_raised(
    system: System, door: Door, places: dict[str, str]
) -> None:
    under = {key: door.create(key, overlap_policy="allow", **words) for key, words in KINDS.items()}
    free = door.create("free", overlap_policy="allow")

    waiting = {key: door.trigger(one, parameters=ACME) for key, one in under.items()}
    reaches(system, door.trigger(free)["execution_id"], "completed")
    holding = {key: held(system, door, one) for key, one in waiting.items()}
    for key in KINDS:
        door.patch(places[key], {"max_concurrent": 1})

    assert holding == {key: (f"limit:{key}", True) for key in KINDS}
    for key, one in waiting.items():
        reaches(system, one["execution_id"], ENDS.get(key, "completed"))


def test_a_limit_that_is_lowered_holds_what_comes_after(
    system: System, door: Door, places: dict[str, str], gate: Path
) -> None:
    place = places["task:slow"]
    door.patch(place, {"max_concurrent": 8})
    act = {"until": str(gate), "seconds": 0.5}
    busy = door.create("lowered", act, task_type="slow", overlap_policy="allow")

    before = [door.trigger(busy) for _ in range(3)]
    for one in before:
        reaches(system, one["execution_id"], "running")
    door.patch(place, {"max_concurrent": 1})
    after = [door.trigger(busy) for _ in range(2)]
    holding = [held(system, door, one)[0] for one in after]
    gate.touch()

    assert holding == ["limit:task:slow"] * 2
    ended = [reaches(system, one["execution_id"], "completed") for one in (*before, *after)]
    earlier, later = sorted(ended[3:], key=lambda one: str(one.started_at))
    assert earlier.started_at is not None
    assert earlier.completed_at is not None
    assert later.started_at is not None
    assert all(one.completed_at and one.completed_at <= earlier.started_at for one in ended[:3])
    assert earlier.completed_at <= later.started_at


def test_a_rate_of_each_key_is_its_own_and_holds_until_it_is_quicker(
    system: System, door: Door, places: dict[str, str]
) -> None:
    often = door.create("rated", overlap_policy="allow", limit_key="rated:{tenant}")

    # Which of two is held is not said: one that a beat is looking at lets the next one pass.
    made = {
        tenant: [door.trigger(often, parameters={"tenant": tenant}) for _ in range(2)]
        for tenant in ("acme", "hooli")
    }
    waiting = {
        tenant: system.until(partial(the_one_left, door, both), what="one has run, one is held")
        for tenant, both in made.items()
    }
    door.patch(places["key:rated:*"], {"rate_period_ms": 100})

    assert {tenant: one["held_by"] for tenant, one in waiting.items()} == {
        tenant: f"rate:key:rated:{tenant}" for tenant in made
    }
    for one in waiting.values():
        reaches(system, one["id"], "completed")


def the_one_left(door: Door, both: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Of two the one that is held, once the other has completed."""
    shown = sorted((door.execution(one) for one in both), key=lambda one: str(one["status"]))
    is_so = [one["status"] for one in shown] == ["completed", "pending"] and shown[1]["held_by"]
    return shown[1] if is_so else None


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
