"""The simulated world: its policies are the real ones, its arithmetic can be done by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduler_app import next_run, windows
from scheduler_app.coming import Prospect
from scheduler_app.doors import Doors
from scheduler_app.foresight.simulated import Actor
from scheduler_app.foresight.simulation import World
from scheduler_app.foresight.simulation_measures import Measures, document
from scheduler_app.policies import OverlapPolicy

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
UTC_ZONE = next_run.zone("UTC")


def actor(
    number: int = 1,
    *,
    every: timedelta | None = MINUTE,
    takes: timedelta = MINUTE,
    overlap: str = "skip",
    prospect: dict[str, Any] | None = None,
    **changes: Any,
) -> Actor:
    rule = next_run.IntervalRule(NOW, every or MINUTE)
    its = Prospect(
        schedule_id=UUID(int=number),
        name=f"job {number}",
        rule=rule,
        zone=UTC_ZONE,
        **{"next_run_at": NOW + every if every else None, **(prospect or {})},
    )
    return Actor(its, OverlapPolicy(overlap), [takes], **changes)


def simulate(
    *actors: Actor, minutes: int = 10, slots: int = 100, limits: dict[str, int] | None = None
) -> Measures:
    world = World(actors, begin=NOW, end=NOW + minutes * MINUTE, slots=slots, limits=limits or {})
    return world.run(most_fires=1_000_000)


def reasons(measures: Measures) -> dict[str, int]:
    return {str(one): count for one, count in measures.reasons.items()}


@pytest.mark.parametrize(
    ("overlap", "ran", "skipped", "started", "cancelled"),
    [
        # A fire each minute for ten minutes, each run takes 2.5 of them.
        ("skip", 4, 6, 4, 0),
        ("allow", 10, 0, 10, 0),
        ("buffer_one", 5, 5, 4, 0),
        ("buffer_all", 10, 0, 4, 0),
        ("cancel_running", 10, 0, 10, 9),
    ],
)
def test_each_overlap_policy_makes_of_the_fires_what_it_says(
    overlap: str, ran: int, skipped: int, started: int, cancelled: int
) -> None:
    measures = simulate(actor(takes=2.5 * MINUTE, overlap=overlap))

    found = reasons(measures)
    assert (found["dispatched"], found.get("skipped_overlap", 0)) == (ran, skipped)
    assert (measures.starts, measures.cancelled) == (started, cancelled)


def test_what_finds_no_slot_waits_and_the_urgent_go_first() -> None:
    low = actor(1, priority="low", every=10 * MINUTE, takes=MINUTE)
    urgent = actor(2, priority="critical", every=10 * MINUTE, takes=MINUTE)
    other = actor(3, priority="low", every=10 * MINUTE, takes=MINUTE)

    measures = simulate(low, urgent, other, slots=1, minutes=15)

    waits = {one.name: one.longest_wait for one in measures.schedules.values()}
    assert waits == {"job 1": timedelta(), "job 2": MINUTE, "job 3": 2 * MINUTE}
    assert (measures.most_busy, measures.most_queued) == (1, 2)


def test_a_limit_holds_back_and_lets_go() -> None:
    many = [actor(n, every=10 * MINUTE, takes=MINUTE, keys=("key:a",)) for n in range(1, 5)]
    free = actor(9, every=10 * MINUTE, takes=MINUTE)

    measures = simulate(*many, free, limits={"key:a": 2}, minutes=15)

    waits = sorted(one.longest_wait for one in measures.schedules.values())
    assert waits == [timedelta()] * 3 + [MINUTE] * 2
    assert measures.most_held == 2
    assert measures.unfinished == 0


def test_two_limits_at_once_neither_leak_nor_deadlock() -> None:
    both = [
        actor(n, every=MINUTE, takes=1.5 * MINUTE, overlap="allow", keys=("a", "b"))
        for n in range(1, 4)
    ]
    only_b = [actor(n, takes=0.5 * MINUTE, overlap="allow", keys=("b",)) for n in range(4, 7)]

    measures = simulate(*both, *only_b, limits={"a": 2, "b": 3}, minutes=30)

    assert measures.most_busy == 3
    assert measures.starts > 30


def test_what_waits_too_long_expires() -> None:
    quick = actor(1, every=10 * MINUTE, takes=5 * MINUTE)
    stale = actor(2, every=10 * MINUTE, run_ttl=MINUTE)

    measures = simulate(quick, stale, slots=1, minutes=19)

    assert (measures.starts, measures.expired) == (1, 1)


def test_a_closed_window_skips_and_the_runs_of_a_bounded_schedule_end() -> None:
    window = windows.parse_window({"hours": ["12:00-12:05"]}, zone=UTC_ZONE)
    doors = Doors(UUID(int=1), windows.Openings(window))

    bounded = simulate(actor(takes=MINUTE / 2, prospect={"runs_left": 3}))
    windowed = simulate(actor(takes=MINUTE / 2, prospect={"doors": doors}))

    assert reasons(bounded) == {"dispatched": 3}
    assert reasons(windowed) == {"dispatched": 4, "skipped_window": 6}


def test_what_depends_on_others_follows_them() -> None:
    first, second = actor(1, takes=MINUTE / 4), actor(2, every=2 * MINUTE, takes=MINUTE / 4)
    of_any = actor(3, every=None, upstreams=frozenset({UUID(int=1)}), takes=MINUTE / 4)
    of_all = actor(
        4,
        every=None,
        upstreams=frozenset({UUID(int=1), UUID(int=2)}),
        needs_all=True,
        takes=MINUTE / 4,
    )

    measures = simulate(first, second, of_any, of_all, minutes=9)

    ran = {one.name: sum(one.reasons.values()) for one in measures.schedules.values()}
    assert ran == {"job 1": 9, "job 2": 4, "job 3": 8, "job 4": 4}


def test_what_is_active_when_it_begins_counts() -> None:
    busy = actor(takes=2.5 * MINUTE, active=1)

    assert reasons(simulate(busy, minutes=2)) == {"skipped_overlap": 2}


def test_the_load_is_what_ran_of_what_could_have() -> None:
    measures = simulate(actor(takes=MINUTE / 2), slots=2, minutes=10)

    # Nine whole runs of half a minute and one that begins at the end, of twenty slot minutes.
    assert measures.load == pytest.approx(4.5 / 20)
    assert sum(point.fires for point in measures.points) == 10
    assert sum(point.busy for point in measures.points) == pytest.approx(270)


def test_too_many_fires_end_it_early_and_it_says_so() -> None:
    world = World([actor(takes=MINUTE / 2)], begin=NOW, end=NOW + 60 * MINUTE, slots=1, limits={})

    measures = world.run(most_fires=7)

    assert (measures.fires, measures.is_complete) == (7, False)
    assert document(measures)["until"] == NOW + 7 * MINUTE


def test_progress_is_told_about_a_hundred_times() -> None:
    told: list[datetime] = []
    world = World([actor()], begin=NOW, end=NOW + 1_000 * MINUTE, slots=1, limits={})

    world.run(most_fires=10_000, progress=told.append)

    assert told == sorted(told)
    assert 90 <= len(told) <= 101


def test_the_same_world_comes_out_the_same() -> None:
    def one() -> dict[str, Any]:
        actors = [
            actor(n, every=MINUTE * (n % 3 + 1), takes=MINUTE * n / 2, overlap=policy)
            for n, policy in enumerate([*OverlapPolicy] * 2, start=1)
        ]
        return document(simulate(*actors, slots=4, minutes=120))

    assert one() == one()
