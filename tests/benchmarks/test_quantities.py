"""The arithmetic of measurements."""

from __future__ import annotations

import pytest

from benchmarks import quantities


def test_the_median_stands_for_the_runs_and_what_was_not_measured_is_left_out() -> None:
    assert quantities.medians({"rate": [3.0, 100.0, 2.0], "absent": []}) == {"rate": 3.0}


def test_the_spread_is_the_distance_of_the_extremes_as_a_part_of_the_median() -> None:
    assert quantities.spread([90.0, 100.0, 120.0]) == pytest.approx(0.3)
    assert quantities.spread([5.0]) == 0.0
    assert quantities.spread([0.0, 0.0]) == 0.0


def test_a_percentile_lies_where_that_many_are_not_above_it() -> None:
    waits = [float(n) for n in range(101)]

    assert quantities.percentile(waits, 50) == 50.0
    assert quantities.percentile(waits, 99) == 99.0
    assert quantities.percentile([7.0], 95) == 7.0


def test_the_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        quantities.percentile([], 50)


def test_runs_become_quantities_in_their_order() -> None:
    runs = [{"a": 1.0, "b": 2.0}, {"a": 3.0}]

    assert quantities.gathered(runs) == {"a": [1.0, 3.0], "b": [2.0]}


def test_numbers_have_the_digits_that_are_worth_reading() -> None:
    assert quantities.readable(25_600.4) == "25,600"
    assert quantities.readable(716.3) == "716"
    assert quantities.readable(0.12345) == "0.123"
