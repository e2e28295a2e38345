"""Jitter and spread: the same for everybody who asks, evenly spread, never out of a window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.doors import Doors, delay_of, start
from scheduler_app.policies import FireReason, OutsideWindow
from scheduler_app.windows import Calendar, Openings, parse_window

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ONE = UUID(int=1)
JITTER, SPREAD = 3_135, 48_740  # milliseconds, of ONE at NOON under 60 seconds of each


def openings(*hours: str) -> Openings:
    return Openings(parse_window({"hours": list(hours)}, zone=ZoneInfo("UTC")))


def test_without_jitter_and_spread_nothing_starts_later() -> None:
    assert delay_of(ONE, NOON) == timedelta()


def test_a_delay_is_the_same_wherever_it_is_computed() -> None:
    """The figures are written down: another version that finds others would move every start."""
    assert delay_of(ONE, NOON, jitter_ms=60_000) == timedelta(milliseconds=JITTER)
    assert delay_of(ONE, NOON, spread_ms=60_000) == timedelta(milliseconds=SPREAD)
    in_tokyo = NOON.astimezone(ZoneInfo("Asia/Tokyo"))
    assert delay_of(ONE, in_tokyo, jitter_ms=60_000) == timedelta(milliseconds=JITTER)


def test_the_spread_keeps_the_cadence_and_the_jitter_does_not() -> None:
    fires = [NOON + n * MINUTE for n in range(50)]

    assert len({delay_of(ONE, one, spread_ms=30_000) for one in fires}) == 1
    assert len({delay_of(ONE, one, jitter_ms=30_000) for one in fires}) > 40


def test_a_thousand_schedules_of_one_minute_are_spread_over_it_evenly() -> None:
    starts = [delay_of(UUID(int=n), NOON, spread_ms=59_999) for n in range(1_000)]

    by_second = [0] * 60
    for one in starts:
        by_second[one // timedelta(seconds=1)] += 1
    assert min(by_second) >= 4
    assert max(by_second) <= 40


@settings(derandomize=True, max_examples=300, database=None)
@given(st.uuids(), st.integers(0, 90), st.integers(0, 7_200_000), st.integers(0, 7_200_000))
def test_a_start_is_never_early_never_later_than_both_and_never_outside(
    schedule_id: UUID, minute: int, jitter_ms: int, spread_ms: int
) -> None:
    nominal = NOON + minute * MINUTE
    doors = openings("12:00-13:31")
    delay = delay_of(schedule_id, nominal, jitter_ms=jitter_ms, spread_ms=spread_ms)

    starts_at = start(nominal, delay, doors)

    assert timedelta() <= delay <= timedelta(milliseconds=jitter_ms + spread_ms)
    assert nominal <= starts_at <= nominal + delay
    assert doors.closed_by(starts_at) is None


def test_doors_tell_what_becomes_of_a_fire_and_when_it_starts() -> None:
    window = openings("13:00-14:00")
    waiting = Doors(ONE, window, OutsideWindow.NEXT_OPENING)
    closed = Openings(calendar=Calendar(ZoneInfo("UTC"), frozenset(range(7))))

    assert Doors(ONE).passes(NOON) == (FireReason.DISPATCHED, NOON)
    assert Doors(ONE, window).passes(NOON) == (FireReason.SKIPPED_WINDOW, None)
    assert waiting.passes(NOON) == (FireReason.DISPATCHED, NOON + 60 * MINUTE)
    assert Doors(ONE, closed, OutsideWindow.NEXT_OPENING).passes(NOON) == (
        FireReason.SKIPPED_CALENDAR,
        None,
    )
