"""Every combination of catch-up and overlap policy, as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler_app.next_run import Missed
from scheduler_app.policies import (
    CatchupPolicy,
    Circumstances,
    Fire,
    FireReason,
    OverlapPolicy,
    decide,
)

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
