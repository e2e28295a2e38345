"""When an instant of another clock comes is known from what that clock said, never too early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions_app.instants import DRIFT, ServerClock

AHEAD = 1_000.0
"""By how much the other clock is ahead in these tests."""


def clock_that_heard(*ways: tuple[float, float, float]) -> ServerClock:
    """Answers at these monotonic times, each so many seconds on the way there and back."""
    clock = ServerClock()
    for at, there, back in ways:
        clock.note(at + AHEAD, sent=at - there, received=at + back)
    return clock


def test_an_answer_at_once_tells_the_instant() -> None:
    assert clock_that_heard((5.0, 0.0, 0.0)).when(AHEAD + 6.0) == pytest.approx(6.0)


def test_of_slow_answers_the_fastest_counts() -> None:
    clock = clock_that_heard((5.0, 0.1, 0.02), (5.1, 0.0, 0.001), (5.2, 0.0, 0.03))

    assert clock.when(AHEAD + 6.0) == pytest.approx(6.001)


def test_what_was_heard_long_ago_is_worth_less_than_what_is_heard_now() -> None:
    clock = clock_that_heard((5.0, 0.0, 0.0), (105.0, 0.0, 0.05))

    assert 100 * DRIFT > 0.05
    assert clock.when(AHEAD + 106.0) == pytest.approx(106.05)


@pytest.mark.parametrize("jump", [3_600.0, 0.2, -0.2, -3_600.0])
def test_a_clock_that_was_set_is_believed(jump: float) -> None:
    clock = clock_that_heard((5.0, 0.0, 0.0))

    clock.note(6.0 + AHEAD + jump, sent=6.0 - 0.01, received=6.0 + 0.01)

    assert clock.when(AHEAD + jump + 7.0) == pytest.approx(7.01)


seconds = st.floats(min_value=0, max_value=0.5)


@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=1, max_size=20))
def test_nothing_comes_before_its_instant(ways: list[tuple[float, float, float]]) -> None:
    clock, at = ServerClock(), 0.0
    for pause, there, back in ways:
        at += pause
        clock.note(at + AHEAD, sent=at - there, received=at + back)

    assert clock.when(AHEAD + 50.0) >= 50.0 - 1e-6
