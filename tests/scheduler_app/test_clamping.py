"""What limits leave of the AI's proposals: a table, and laws that hold for whatever it proposes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_app import clamping, windows
from scheduler_app.clamping import LONGEST_PAUSE, Clamped, Limits, Refused
from scheduler_app.windows import Calendar, Openings

RAN = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)  # a Wednesday
NOW = RAN + timedelta(seconds=40)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ALWAYS_CLOSED = Openings(calendar=Calendar(ZoneInfo("UTC"), weekend=frozenset(range(7))))


def office() -> Openings:
    """Open from nine to five on weekdays, but not on Friday, which is a holiday."""
    words = {"hours": ["09:00-17:00"], "weekdays": ["mon", "tue", "wed", "thu", "fri"]}
    friday = (RAN + 2 * DAY).date()
    return Openings(
        windows.parse_window(words, zone=ZoneInfo("UTC")),
        Calendar(ZoneInfo("UTC"), holidays=frozenset({friday})),
    )


def limits(**changes: object) -> Limits:
    usual = {"now": NOW, "ran_at": RAN, "min_interval": MINUTE, "max_interval": 2 * DAY}
    return Limits(**{**usual, **changes})  # type: ignore[arg-type]  # names of its fields


TABLE = {
    "within all limits": (RAN + HOUR, limits(), RAN + HOUR, []),
    "too soon": (RAN + 50 * timedelta(seconds=1), limits(), RAN + MINUTE, ["min_interval"]),
    "too late": (RAN + 9 * DAY, limits(), RAN + 2 * DAY, ["max_interval"]),
    "in the past": (RAN - DAY, limits(), RAN + MINUTE, ["min_interval"]),
    "too soon after a run long ago": (
        RAN,
        limits(now=RAN + HOUR),
        RAN + HOUR + timedelta(seconds=2),
        ["min_interval", "past"],
    ),
    "the most has passed": (
        RAN + 3 * DAY,
        limits(now=RAN + 5 * DAY),
        RAN + 5 * DAY + timedelta(seconds=2),
        ["max_interval", "past"],
    ),
    "before its start": (RAN + HOUR, limits(starts_at=RAN + DAY), RAN + DAY, ["start_at"]),
    "while its rate is used up": (
        RAN + HOUR,
        limits(quota_from=RAN + 2 * HOUR + timedelta(milliseconds=300)),
        RAN + 2 * HOUR + timedelta(seconds=1),
        ["quota"],
    ),
    "as its rate allows one more, by another look at the clock": (
        RAN + 2 * HOUR,
        limits(quota_from=RAN + 2 * HOUR + timedelta(milliseconds=300)),
        RAN + 2 * HOUR,
        [],
    ),
    "while a window is closed": (
        RAN + 8 * HOUR,
        limits(openings=office()),
        RAN + 21 * HOUR,
        ["window"],
    ),
    "on a holiday, and then a weekend": (
        RAN + 46 * HOUR,
        limits(openings=office()),
        RAN + 5 * DAY - 3 * HOUR,
        ["calendar"],
    ),
    "the window is the last word": (
        RAN + 30 * DAY,
        limits(openings=office(), max_interval=6 * HOUR),
        RAN + 21 * HOUR,
        ["max_interval", "window"],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_limit_moves_a_run_to_the_nearest_time_it_allows_and_says_so(case: str) -> None:
    wanted, given_limits, expected, noted = TABLE[case]

    left = clamping.next_run(wanted, given_limits)

    assert isinstance(left, Clamped)
    assert left.at == expected
    assert [one.limit for one in left.notes] == noted


def test_each_note_goes_on_where_the_one_before_ended() -> None:
    left = clamping.next_run(RAN + 30 * DAY, limits(openings=office(), max_interval=6 * HOUR))

    assert isinstance(left, Clamped)
    first, last = left.notes
    assert (first.before, first.after) == (RAN + 30 * DAY, RAN + 6 * HOUR)
    assert (last.before, last.after) == (RAN + 6 * HOUR, left.at)
    assert last.as_json() == {
        "limit": "window",
        "before": "2026-11-18T18:00:00Z",
        "after": "2026-11-19T09:00:00Z",
    }


@pytest.mark.parametrize(
    ("given_limits", "reason"),
    [
        (limits(ends_at=RAN + MINUTE), "after the end"),
        (limits(openings=ALWAYS_CLOSED), "never opens"),
    ],
)
def test_what_no_time_can_satisfy_is_refused(given_limits: Limits, reason: str) -> None:
    left = clamping.next_run(RAN + HOUR, given_limits)

    assert isinstance(left, Refused)
    assert reason in left.reason


@pytest.mark.parametrize(
    ("wanted", "most", "expected"),
    [
        (RAN + HOUR, 2 * DAY, RAN + HOUR),
        (RAN + 9 * DAY, 2 * DAY, RAN + 2 * DAY),
        (RAN + 300 * DAY, 366 * DAY, NOW + LONGEST_PAUSE),
        (NOW, 2 * DAY, None),
        (RAN - DAY, 2 * DAY, None),
        (RAN + DAY, timedelta(seconds=40), None),
    ],
)
def test_a_pause_has_an_end_that_is_to_come_and_not_too_far(
    wanted: datetime, most: timedelta, expected: datetime | None
) -> None:
    left = clamping.pause(wanted, limits(max_interval=most))

    if expected is None:
        assert isinstance(left, Refused)
    else:
        assert isinstance(left, Clamped)
        assert left.at == expected
        assert len(left.notes) == (expected != wanted)


instants = st.datetimes(
    min_value=datetime(2026, 1, 1),  # noqa: DTZ001  the strategy adds the zone
    max_value=datetime(2028, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
spans = st.timedeltas(min_value=timedelta(seconds=1), max_value=40 * DAY)


@given(
    wanted=instants,
    now=instants,
    ago=st.timedeltas(min_value=timedelta(), max_value=3 * DAY),
    least=spans,
    most=spans,
    has_office=st.booleans(),
)
def test_whatever_is_wanted_the_limits_hold(
    wanted: datetime,
    now: datetime,
    ago: timedelta,
    least: timedelta,
    most: timedelta,
    has_office: bool,
) -> None:
    openings = office() if has_office else None
    bounds = Limits(now, now - ago, least, max(least, most), openings)

    left = clamping.next_run(wanted, bounds)

    assert isinstance(left, Clamped)
    assert left.at > now
    assert left.at - bounds.ran_at >= least
    assert (left.at != wanted) == bool(left.notes)
    moved_by = {one.limit for one in left.notes}
    if not moved_by & {"window", "calendar", "past"}:
        assert left.at - bounds.ran_at <= bounds.max_interval
    assert openings is None or openings.closed_by(left.at) is None


@given(wanted=instants, now=instants, least=spans, most=spans, has_office=st.booleans())
def test_what_the_limits_left_they_leave_again(
    wanted: datetime,
    now: datetime,
    least: timedelta,
    most: timedelta,
    has_office: bool,
) -> None:
    bounds = Limits(now, now, least, max(least, most), office() if has_office else None)

    once = clamping.next_run(wanted, bounds)

    assert isinstance(once, Clamped)
    again = clamping.next_run(once.at, bounds)
    assert isinstance(again, Clamped)
    assert again.at == once.at


@given(wanted=instants, now=instants, most=spans)
def test_no_pause_is_longer_than_allowed(wanted: datetime, now: datetime, most: timedelta) -> None:
    left = clamping.pause(wanted, Limits(now, now, timedelta(seconds=1), most))

    if isinstance(left, Clamped):
        assert now < left.at <= now + min(most, LONGEST_PAUSE)
        assert left.at <= wanted
    else:
        assert wanted <= now
