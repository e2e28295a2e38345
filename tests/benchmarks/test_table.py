"""When a target is met, and what is said of it."""

from __future__ import annotations

import pytest

from benchmarks.table import OURS, Check, apart, tally, times, times_the_least, value
from tests.benchmarks.found import PEER, result, target

SOON = Check("must", "<= 20 ms", value(OURS), 20.0, "below", " ms")


def test_a_must_that_is_reached_meets_the_target_even_when_the_aim_is_missed() -> None:
    found = result({OURS: [1_500.0], PEER: [100.0]})

    assert found.is_met is True
    assert [one.is_met for one in found.judged] == [True, False]
    assert [one.in_words() for one in found.judged] == [
        "15x, met by 50%",
        "15x, missed by 85%",
    ]


def test_one_missed_must_misses_the_target() -> None:
    assert result({OURS: [999.0], PEER: [100.0]}).is_met is False


def test_the_limit_itself_keeps_the_promise_on_either_side() -> None:
    assert result({OURS: [1_000.0], PEER: [100.0]}).is_met is True
    assert result({OURS: [20.0]}, of=target(checks=[SOON])).is_met is True
    assert result({OURS: [20.1]}, of=target(checks=[SOON])).is_met is False


def test_ratios_are_between_medians() -> None:
    found = result({OURS: [1_000.0, 1_200.0, 9_000.0], PEER: [1.0, 100.0, 110.0]})

    assert found.judged[0].number == 12.0


def test_what_was_not_measured_is_open_and_does_not_meet_the_target() -> None:
    found = result({OURS: [1_500.0], PEER: []})

    assert found.judged[0].is_met is None
    assert found.judged[0].in_words() == "not measured"
    assert found.is_met is False


def test_a_target_that_failed_is_not_met_whatever_it_found() -> None:
    assert result({OURS: [1_500.0], PEER: [100.0]}, problem="it broke").is_met is False


def test_a_target_without_a_must_is_not_counted() -> None:
    only_told = result({OURS: [1.0]}, of=target(checks=[]))
    met = result({OURS: [1_500.0], PEER: [100.0]})
    missed = result({OURS: [1.0], PEER: [100.0]})

    assert only_told.is_met is None
    assert tally([only_told, met, missed]) == (1, 2)


def test_a_limit_of_zero_is_met_or_missed_without_saying_by_how_much() -> None:
    none_lost = target(checks=[Check("must", "none lost", value(OURS), 0.0, "below")])

    assert result({OURS: [0.0]}, of=none_lost).judged[0].in_words() == "0, met"
    assert result({OURS: [2.0]}, of=none_lost).judged[0].in_words() == "2, missed"


def test_far_beyond_the_limit_no_percentage_is_told() -> None:
    assert result({OURS: [500.0]}, of=target(checks=[SOON])).judged[0].in_words() == (
        "500 ms, missed by far"
    )


@pytest.mark.parametrize(
    ("found", "number"),
    [({"a": 6.0, "b": 2.0}, 3.0), ({"a": 6.0}, None), ({"a": 6.0, "b": 0.0}, None)],
)
def test_a_ratio_needs_both_sides(found: dict[str, float], number: float | None) -> None:
    assert times("a", "b")(found) == number


def test_two_are_apart_by_the_greater_over_the_lesser_whichever_it_is() -> None:
    assert apart("a", "b")({"a": 2.0, "b": 3.0}) == apart("a", "b")({"a": 3.0, "b": 2.0}) == 1.5
    assert apart("a", "b")({"a": 2.0}) is None


def test_the_best_of_the_peers_is_the_least_that_was_measured() -> None:
    best = times_the_least("a", ["b", "c", "d"])

    assert best({"a": 1.0, "b": 4.0, "c": 2.0}) == 0.5
    assert best({"a": 1.0}) is None
