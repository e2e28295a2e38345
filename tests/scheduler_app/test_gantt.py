"""The bars of steps: on one scale, waiting before running, and always seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler_app import gantt
from scheduler_app.gantt import LEAST, WIDTH, Bar, Timed

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def at(seconds: float) -> datetime:
    return NOON + seconds * SECOND


def test_bars_share_one_scale() -> None:
    first = Timed(at(0), at(2), at(5))
    second = Timed(at(5), at(5), at(10))

    bars = gantt.draw([first, second], now=at(60))

    assert bars == [
        Bar(0, 200, 200, 300, took=3 * SECOND),
        Bar(500, 0, 500, 500, took=5 * SECOND),
    ]


def test_what_runs_ends_now_and_what_has_not_begun_waits_until_now() -> None:
    bars = gantt.draw([Timed(at(0), at(5), None), Timed(at(5), None, None)], now=at(10))

    assert bars == [Bar(0, 500, 500, 500, took=5 * SECOND), Bar(500, 500)]


def test_what_was_never_queued_has_no_bar() -> None:
    nothing = Timed(None, None, None)

    assert gantt.draw([nothing], now=NOON) == [Bar()]
    assert gantt.draw([nothing, Timed(at(0), at(0), at(1))], now=at(9))[0] == Bar()
    assert gantt.draw([], now=NOON) == []


offsets = st.none() | st.integers(-5, 3_600)


@given(st.lists(st.tuples(offsets, offsets, offsets), max_size=8), st.integers(0, 4_000))
def test_no_bar_leaves_the_picture(steps: list[tuple[int | None, ...]], now: int) -> None:
    times = [Timed(*(None if one is None else at(one) for one in step)) for step in steps]

    for step, bar in zip(times, gantt.draw(times, now=at(now)), strict=True):
        assert 0 <= bar.wait_x <= WIDTH
        assert 0 <= bar.run_x <= WIDTH - LEAST or bar.run_width == 0
        assert bar.wait_width >= 0
        assert (bar.run_width >= LEAST) == (step.started_at is not None)
