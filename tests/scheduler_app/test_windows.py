"""Windows and calendars against tables and against the oracle, around changes of the clock too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.next_run import InvalidTriggerConfigError
from scheduler_app.windows import (
    WEEKDAYS,
    Calendar,
    Openings,
    Window,
    merged,
    parse_window,
    weekday,
)
from tests.scheduler_app import oracle_of_windows as oracle
from tests.scheduler_app.oracle_of_windows import Words
from tests.scheduler_app.test_next_run import MOMENTS

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN, TODAY = ZoneInfo("Europe/Berlin"), date(2026, 6, 1)  # a Monday


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(*hours: str, days: tuple[str, ...] = (), zone: str = "UTC") -> Window:
    words = {"hours": list(hours), "weekdays": list(days)}
    parsed = parse_window(words, zone=ZoneInfo(zone))
    assert parsed is not None
    return parsed


def openings(words: Words) -> Openings:
    return Openings(
        parse_window(words.window, zone=ZoneInfo(words.zone)),
        Calendar(
            ZoneInfo(words.calendar_zone),
            frozenset(map(weekday, words.weekend)),
            frozenset(map(date.fromisoformat, words.holidays)),
            merged(words.blackouts),
        ),
    )


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-06-01T08:59:59.999999", False),
        ("2026-06-01T09:00", True),
        ("2026-06-01T16:59:59.999999", True),
        ("2026-06-01T17:00", False),
        ("2026-06-06T12:00", False),  # a Saturday
        ("2026-06-05T23:00", True),
        ("2026-06-06T01:59", True),  # the night of Friday
        ("2026-06-06T02:00", False),
        ("2026-06-01T01:00", False),  # the night of Sunday
    ],
)
def test_a_window_is_open_from_its_first_minute_up_to_its_last(at: str, is_open: bool) -> None:
    working_week = window("09:00-17:00", "22:00-02:00", days=("mon", "tue", "wed", "thu", "fri"))

    assert working_week.is_open(utc(at)) is is_open


def test_a_night_of_sunday_reaches_into_monday() -> None:
    night = window("22:00-02:00", days=("sun",))

    assert night.is_open(utc("2026-06-01T01:59"))
    assert night.next_open(utc("2026-06-01T02:00")) == utc("2026-06-07T22:00")


@pytest.mark.parametrize(
    ("at", "opening"),
    [
        ("2026-06-01T18:00", "2026-06-02T07:00"),  # 09:00 in Berlin, the next day
        ("2026-06-05T18:00", "2026-06-08T07:00"),
        ("2026-10-23T18:00", "2026-10-26T08:00"),  # the clock went back on Sunday
        ("2026-06-02T07:00:30", "2026-06-02T07:00:30"),
    ],
)
def test_what_is_due_outside_waits_for_the_next_opening(at: str, opening: str) -> None:
    working_week = window("09:00-17:00", days=WEEKDAYS[:5], zone="Europe/Berlin")

    assert working_week.next_open(utc(at)) == utc(opening)


def test_a_window_inside_the_hour_that_the_clock_skips_is_not_opened_that_day() -> None:
    small_hours = window("02:15-02:45", zone="Europe/Berlin")

    assert small_hours.next_open(utc("2026-03-28T12:00")) == utc("2026-03-30T00:15")


def test_a_window_that_the_clock_skips_into_opens_when_the_gap_ends() -> None:
    small_hours = window("02:15-04:00", zone="Europe/Berlin")

    assert small_hours.next_open(utc("2026-03-28T12:00")) == utc("2026-03-29T01:00")


def test_a_window_inside_the_hour_that_comes_twice_is_open_twice() -> None:
    small_hours = window("02:15-02:45", zone="Europe/Berlin")

    assert small_hours.next_open(utc("2026-10-25T00:00")) == utc("2026-10-25T00:15")
    assert small_hours.next_open(utc("2026-10-25T00:45")) == utc("2026-10-25T01:15")


def test_a_calendar_closes_whole_days_of_its_own_zone() -> None:
    calendar = Calendar(BERLIN, frozenset({5, 6}), frozenset({TODAY}))

    def closes(text: str) -> bool:
        return calendar.closed_until(utc(text)) is not None

    assert closes("2026-05-31T22:00")  # Monday 00:00 in Berlin, a holiday
    assert closes("2026-06-01T21:59")
    assert not closes("2026-06-01T22:00")
    assert Openings(calendar=calendar).next_opening(utc("2026-05-29T22:30")) == utc(
        "2026-06-01T22:00"
    )


def test_a_blackout_ends_when_it_says_and_overlapping_ones_are_one() -> None:
    blackouts = merged(
        [
            (utc("2026-06-02T10:00"), utc("2026-06-02T12:00")),
            (utc("2026-06-01T10:00"), utc("2026-06-02T11:00")),
        ]
    )
    open_else = Openings(calendar=Calendar(BERLIN, blackouts=blackouts))

    assert open_else.closed_by(utc("2026-06-01T09:59:59")) is None
    assert open_else.closed_by(utc("2026-06-01T10:00")) == "calendar"
    assert open_else.next_opening(utc("2026-06-01T10:00")) == utc("2026-06-02T12:00")


def test_a_window_that_a_calendar_always_closes_never_opens() -> None:
    weekends_only = window(days=("sat", "sun"), zone="Europe/Berlin")
    free_weekends = Calendar(BERLIN, frozenset({5, 6}))

    assert Openings(weekends_only, free_weekends).next_opening(utc("2026-06-01T10:00")) is None
    every_day = Calendar(BERLIN, frozenset(range(7)))
    assert Openings(calendar=every_day).next_opening(utc("2026-06-01T10:00")) is None


def test_a_blackout_of_ten_years_is_waited_for() -> None:
    long = merged([(utc("2026-01-01T00:00"), utc("2036-01-01T00:00"))])

    opening = Openings(calendar=Calendar(BERLIN, blackouts=long)).next_opening(
        utc("2026-06-01T10:00")
    )

    assert opening == utc("2036-01-01T00:00")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"hours": ["9:00-17:00"]}, "hours"),
        ({"hours": ["09:00-09:00"]}, "hours"),
        ({"hours": ["09:00-24:01"]}, "hours"),
        ({"hours": ["24:00-09:00"]}, "hours"),
        ({"hours": ["09:60-17:00"]}, "hours"),
        ({"hours": ["09:00-17:00\n"]}, "hours"),
        ({"hours": "09:00-17:00"}, "hours"),
        ({"weekdays": ["monday"]}, "weekdays"),
        ({"weekdays": [1]}, "weekdays"),
        ({"days": ["mon"]}, "days"),
    ],
)
def test_words_that_make_no_window_are_refused_by_name(words: object, field: str) -> None:
    with pytest.raises(InvalidTriggerConfigError) as caught:
        parse_window(words, zone=BERLIN)  # type: ignore[arg-type]

    assert caught.value.field == field


@pytest.mark.parametrize("words", [{}, {"hours": [], "weekdays": []}])
def test_an_empty_window_restricts_nothing(words: dict[str, list[str]]) -> None:
    assert parse_window(words, zone=BERLIN) is None


minutes = st.integers(0, 24 * 60 - 1).map(lambda one: f"{one // 60:02}:{one % 60:02}")
spans = st.one_of(
    st.tuples(minutes, minutes).filter(lambda ends: ends[0] != ends[1]).map("-".join),
    minutes.map("{}-24:00".format),
)
windows = st.fixed_dictionaries(
    {
        "hours": st.lists(spans, max_size=3),
        "weekdays": st.lists(st.sampled_from(WEEKDAYS), unique=True, max_size=7),
    }
)
places = st.sampled_from(MOMENTS)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Words, datetime]:
    """A window and a calendar, in zones of which one has just changed its clock, or soon will."""
    (zone, moment), (calendar_zone, _) = draw(places), draw(places)
    at = moment + timedelta(seconds=draw(st.integers(-60 * 3600, 30 * 3600)))
    begins = draw(st.lists(st.integers(-100, 100), max_size=2))
    words = Words(
        zone=zone,
        window=draw(windows),
        calendar_zone=calendar_zone,
        weekend=draw(st.lists(st.sampled_from(WEEKDAYS), unique=True, max_size=4)),
        holidays=[
            f"{at + one * DAY:%Y-%m-%d}" for one in draw(st.lists(st.integers(-1, 3), max_size=3))
        ],
        blackouts=[
            (at.replace(second=0) + one * HOUR, at.replace(second=0) + (one + 7) * HOUR)
            for one in begins
        ],
    )
    return words, at


@settings(derandomize=True, max_examples=300, database=None)
@given(cases())
def test_openings_equal_those_of_the_oracle(case: tuple[Words, datetime]) -> None:
    words, at = case
    found = openings(words)
    until = at + 9 * DAY

    opening = found.next_opening(at)

    expected = oracle.next_opening(words, at, until=until)
    assert found.closed_by(at) == oracle.closed_by(words, at)
    if expected is not None or (opening is not None and opening <= until):
        assert opening == expected
    if opening is not None:
        assert found.closed_by(opening) is None
