"""Every combination of the policies: by hand as tables, and all of them against the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from scheduler_app.next_run import Missed
from scheduler_app.policies import (
    CatchupPolicy,
    Circumstances,
    Entry,
    Fire,
    FireReason,
    OutsideWindow,
    OverlapPolicy,
    decide,
    enter,
)
from scheduler_app.windows import Calendar, Openings, parse_window
from tests.scheduler_app import oracle_of_policies as oracle
from tests.scheduler_app.oracle_of_policies import Case

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
RUN, SKIP = FireReason.DISPATCHED, FireReason.SKIPPED_OVERLAP
COALESCED, OLD = FireReason.MISSED_COALESCED, FireReason.MISSED_TOO_OLD


def due(*minutes_ago: int) -> Missed:
    instants = [NOON - timedelta(minutes=one) for one in minutes_ago]
    return Missed(instants[-1], tuple(instants[:-1]), 0, None, None)


def reasons(fires: list[Fire]) -> list[FireReason]:
    return [one.reason for one in fires]


def circumstances(overlap: str, catchup: str, **more: object) -> Circumstances:
    return Circumstances(OverlapPolicy(overlap), CatchupPolicy(catchup), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("overlap", "catchup", "limit", "has_active", "expected"),
    [
        ("allow", "latest", 1, False, [COALESCED, COALESCED, RUN]),
        ("allow", "latest", 1, True, [COALESCED, COALESCED, RUN]),
        ("skip", "latest", 1, False, [COALESCED, COALESCED, RUN]),
        ("skip", "latest", 1, True, [COALESCED, COALESCED, SKIP]),
        ("allow", "all", 2, False, [COALESCED, RUN, RUN]),
        ("allow", "all", 9, True, [RUN, RUN, RUN]),
        ("skip", "all", 9, False, [RUN, SKIP, SKIP]),
        ("skip", "all", 9, True, [SKIP, SKIP, SKIP]),
        ("allow", "none", 1, False, [OLD, OLD, RUN]),
        ("skip", "none", 1, True, [OLD, OLD, SKIP]),
    ],
)
def test_three_due_fires_under_every_combination(
    overlap: str, catchup: str, limit: int, has_active: bool, expected: list[FireReason]
) -> None:
    given = circumstances(overlap, catchup, catchup_limit=limit, has_active=has_active)

    fires = decide(due(2, 1, 0), given, now=NOON)

    assert reasons(fires) == expected
    assert [one.nominal_at for one in fires] == sorted(one.nominal_at for one in fires)


def test_without_catch_up_a_late_fire_does_not_run() -> None:
    fires = decide(due(1), circumstances("allow", "none"), now=NOON)

    assert reasons(fires) == [OLD]


def test_a_fire_older_than_the_window_does_not_run_even_as_the_newest() -> None:
    window = timedelta(minutes=30)

    fires = decide(due(90, 60), circumstances("allow", "latest", catchup_window=window), now=NOON)

    assert reasons(fires) == [OLD, OLD]


def test_fires_inside_the_window_run_and_older_ones_are_too_old() -> None:
    given = circumstances("allow", "all", catchup_limit=100, catchup_window=timedelta(minutes=30))

    fires = decide(due(90, 20, 0), given, now=NOON)

    assert reasons(fires) == [OLD, RUN, RUN]


def test_what_is_not_listed_one_by_one_becomes_one_summary() -> None:
    first, last = NOON - timedelta(days=9), NOON - timedelta(days=1)
    missed = Missed(NOON, (NOON - timedelta(minutes=1),), 500, first, last)

    fires = decide(missed, circumstances("skip", "latest"), now=NOON)

    assert fires[0] == Fire(first, COALESCED, last, 500)
    assert reasons(fires[1:]) == [COALESCED, RUN]


def opens(*hours: str, never: bool = False) -> Openings:
    closed_for_good = Calendar(ZoneInfo("UTC"), frozenset(range(7)))
    window = parse_window({"hours": list(hours)}, zone=ZoneInfo("UTC"))
    return Openings(window, closed_for_good if never else None)


# Each with the ages, in minutes before noon, at which it is closed, and when it opens.
DOORS: dict[str, tuple[Openings | None, frozenset[float], int | None]] = {
    "no window": (None, frozenset(), None),
    "open for the newest": (opens("11:59-12:30"), frozenset({2, 90, 60}), 0),
    "closed for one of them": (opens("11:58-11:59", "12:00-12:30"), frozenset({0.1, 1, 60, 90}), 0),
    "closed now": (opens("11:30-12:00", "12:30-13:00"), frozenset({0, 90, 60}), 30),
    "closed all along": (opens("12:30-13:00"), frozenset({0, 0.1, 1, 2, 60, 90}), 30),
    "never opens": (opens("12:30-12:31", never=True), frozenset({0, 0.1, 1, 2, 60, 90}), None),
}
DUE: list[tuple[tuple[float, ...], tuple[int, int, int] | None]] = [
    ((0,), None),
    ((0.1,), None),
    ((1,), None),
    ((2, 1), None),
    ((2, 1, 0), None),
    ((90, 2, 0), None),
    ((90, 60), None),
    ((2, 1, 0), (9000, 100, 500)),
]


def cases() -> Iterator[tuple[Case, Openings | None]]:
    for (ages, rest), door, overlap in product(DUE, DOORS.values(), OverlapPolicy):
        openings, closed, opens_in = door
        for catchup, too_old, standing, left, outside in product(
            [("latest", 1), ("all", 1), ("all", 2), ("all", 9), ("none", 1)],
            [None, 30],
            [(False, 0), (True, 0), (True, 1), (True, 2)],
            [None, 0, 1, 2],
            OutsideWindow,
        ):
            given = (overlap, *catchup, too_old, *standing, 2, left, closed, opens_in, outside)
            yield Case(ages, rest, *given), openings


def decided(case: Case, openings: Openings | None) -> list[oracle.Fate]:
    def ago(minutes: float) -> datetime:
        return NOON - timedelta(minutes=minutes)

    count, first, last = 0, None, None
    if case.rest:
        count, first, last = case.rest[2], ago(case.rest[0]), ago(case.rest[1])
    missed = Missed(ago(case.ages[-1]), tuple(map(ago, case.ages[:-1])), count, first, last)
    window = None if case.too_old_after is None else timedelta(minutes=case.too_old_after)
    given = Circumstances(
        OverlapPolicy(case.overlap),
        CatchupPolicy(case.catchup),
        catchup_limit=case.catchup_limit,
        catchup_window=window,
        has_active=case.is_active,
        held=case.held,
        buffer_limit=case.buffer_limit,
        runs_left=case.runs_left,
        openings=openings,
        outside=OutsideWindow(case.outside),
    )
    return [as_fate(fire) for fire in decide(missed, given, now=NOON)]


def as_fate(fire: Fire) -> oracle.Fate:
    def minutes(instant: datetime) -> float:
        return round((instant - NOON).total_seconds() / 60, 1)

    waits = None if fire.starts_at is None else max(0, minutes(fire.starts_at))
    reason = fire.reason.value.replace("skipped_calendar", "skipped_window")
    return -minutes(fire.nominal_at), reason, fire.entry.value if fire.is_run else "", waits


def test_every_combination_of_policies_equals_the_oracle() -> None:
    compared = 0
    for case, openings in cases():
        assert decided(case, openings) == oracle.fates(case), case
        compared += 1

    assert compared == len(DUE) * len(DOORS) * 5 * 5 * 2 * 4 * 4 * 2


@pytest.mark.parametrize(
    ("overlap", "has_active", "held", "entry"),
    [
        ("skip", False, 0, Entry.RUN),
        ("skip", True, 0, Entry.REFUSE),
        ("buffer_one", False, 0, Entry.RUN),
        ("buffer_one", True, 0, Entry.WAIT),
        ("buffer_one", True, 1, Entry.REFUSE),
        ("buffer_all", True, 2, Entry.WAIT),
        ("buffer_all", True, 3, Entry.REFUSE),
        ("cancel_running", False, 0, Entry.RUN),
        ("cancel_running", True, 0, Entry.REPLACE),
        ("cancel_running", True, 1, Entry.REPLACE),
        ("allow", True, 9, Entry.RUN),
    ],
)
def test_one_more_execution_comes_in_as_the_overlap_policy_says(
    overlap: str, has_active: bool, held: int, entry: Entry
) -> None:
    found = enter(OverlapPolicy(overlap), has_active=has_active, held=held, buffer_limit=3)

    assert found is entry


def test_a_fire_outside_the_window_names_what_was_closed() -> None:
    calendar = Openings(calendar=Calendar(ZoneInfo("UTC"), frozenset({0})))

    for openings, reason in [
        (opens("13:00-14:00"), FireReason.SKIPPED_WINDOW),
        (calendar, FireReason.SKIPPED_CALENDAR),
    ]:
        assert reasons(
            decide(due(0), circumstances("skip", "latest", openings=openings), now=NOON)
        ) == [reason]


def test_nothing_fires_once_all_runs_are_made() -> None:
    given = circumstances("allow", "all", catchup_limit=9, runs_left=2)

    fires = decide(due(2, 1, 0), given, now=NOON)

    assert [one.nominal_at for one in fires] == [due(2, 1, 0).older[0], due(2, 1, 0).older[1]]
    assert reasons(fires) == [RUN, RUN]
