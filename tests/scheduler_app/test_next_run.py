"""Next runs against tables and against the oracle, around every kind of clock change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.next_run import (
    InvalidTriggerConfigError,
    Rule,
    calculate_next_run,
    fires,
    missed,
    next_run,
    parse_rule,
    zone,
)
from tests.scheduler_app import oracle

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
FRIDAY_NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)


def cron(expression: str) -> Rule:
    return parse_rule("cron", {"cron": expression}, anchor_at=None)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def between(expression: str, zone_name: str, start: datetime, end: datetime) -> list[datetime]:
    found = fires(cron(expression), zone(zone_name), after=start)
    return list(takewhile(lambda fire: fire <= end, found))


def clock_changes(zone_name: str, years: range) -> list[datetime]:
    """The first instants, on a grid of six hours, at which a new offset is seen."""
    tz, instant = ZoneInfo(zone_name), datetime(years.start, 1, 1, tzinfo=UTC)
    found = []
    while instant.year < years.stop:
        later = instant + 6 * HOUR
        if instant.astimezone(tz).utcoffset() != later.astimezone(tz).utcoffset():
            found.append(later)
        instant = later
    return found


# A day line crossed, a negative summer time around Ramadan, changes at midnight, by half an hour.
MOMENTS = [
    (name, moment)
    for name in ZONES
    for moment in (
        clock_changes(name, range(2023, 2027))
        + (clock_changes(name, range(2011, 2012)) if name == "Pacific/Apia" else [])
        or [FRIDAY_NOON]
    )
]


def items(low: int, high: int) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    ranges = st.tuples(numbers, numbers).map(sorted)
    return st.one_of(
        st.just("*"),
        st.integers(1, high - low).map(lambda step: f"*/{step}"),
        numbers.map(str),
        ranges.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.lists(numbers, min_size=2, max_size=4).map(lambda many: ",".join(map(str, many))),
    )


def day_items(low: int, high: int) -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), items(low, high))


EXPRESSIONS = st.one_of(
    # Most changes happen in the small hours of days that few expressions would hit by chance.
    st.builds("{} {} * * *".format, items(0, 59), items(0, 4)),
    st.builds(
        "{} {} {} * {}".format, items(0, 59), items(0, 23), day_items(1, 31), day_items(0, 7)
    ),
    st.sampled_from(sorted(oracle.MACROS)),
)


@settings(derandomize=True, max_examples=500, database=None)
@given(EXPRESSIONS, st.sampled_from(MOMENTS), st.integers(0, 36), st.integers(0, 36))
def test_fires_around_a_clock_change_equal_those_of_the_oracle(
    expression: str, place: tuple[str, datetime], hours_before: int, hours_after: int
) -> None:
    zone_name, moment = place
    start, end = moment - (8 + hours_before) * HOUR, moment + (2 + hours_after) * HOUR

    found = between(expression, zone_name, start, end)

    assert found == oracle.fires(expression, zone_name, start, end)
    assert all(earlier < later for earlier, later in pairwise(found))


@pytest.mark.parametrize(("zone_name", "moment"), MOMENTS)
def test_every_change_of_every_zone_agrees_with_the_oracle(
    zone_name: str, moment: datetime
) -> None:
    start, end = moment - 12 * HOUR, moment + 8 * HOUR

    for expression in ("0,15,30,45 0-4,23 * * *", "*/20 0-3 * * *"):
        assert between(expression, zone_name, start, end) == oracle.fires(
            expression, zone_name, start, end
        )


@settings(derandomize=True, max_examples=200, database=None)
@given(
    EXPRESSIONS,
    st.sampled_from(MOMENTS),
    st.integers(0, 30 * 60),
    st.integers(0, 3000),
    st.integers(0, 20),
)
def test_missed_fires_equal_a_count_one_by_one(
    expression: str, place: tuple[str, datetime], before: int, length: int, keep: int
) -> None:
    zone_name, moment = place
    first = moment - before * MINUTE
    until = first + length * MINUTE
    every = between(expression, zone_name, first - timedelta(microseconds=1), until)

    found = missed(cron(expression), zone(zone_name), first=first, until=until, keep=keep)

    if not every:
        assert found is None
        return
    assert found is not None
    rest, older = every[: -keep - 1], every[-keep - 1 : -1]
    assert (found.newest, list(found.older), found.count) == (every[-1], older, len(every))
    assert found.rest_count == len(rest)
    assert (found.rest_first, found.rest_last) == ((rest[0], rest[-1]) if rest else (None, None))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 9 * * *", ["21T09:00", "22T09:00", "23T09:00", "24T09:00", "25T09:00"]),
        ("0 */6 * * *", ["20T18:00", "21T00:00", "21T06:00", "21T12:00", "21T18:00"]),
        ("*/30 9-17 * * 1-5", ["20T12:30", "20T13:00", "20T13:30", "20T14:00", "20T14:30"]),
        ("0 2 * * 0", ["22T02:00", "29T02:00"]),
        ("0 8 * * 1-5", ["23T08:00", "24T08:00", "25T08:00", "26T08:00", "27T08:00"]),
    ],
)
def test_the_cadence_examples_fire_as_written(expression: str, expected: list[str]) -> None:
    found = islice(fires(cron(expression), zone("UTC"), after=FRIDAY_NOON), len(expected))

    assert list(found) == [utc(f"2026-11-{text}") for text in expected]


@pytest.mark.parametrize(
    ("expression", "zone_name", "after", "expected"),
    [
        # skipped: once, at the first instant after the gap
        ("30 2 * * *", "America/New_York", "2026-03-08T00:00", ["2026-03-08T07:00"]),
        ("0,15,30 2,3 8 3 *", "America/New_York", "2026-03-08T00:00",
         ["2026-03-08T07:00", "2026-03-08T07:15", "2026-03-08T07:30"]),
        ("*/15 2 * * *", "America/New_York", "2026-03-08T00:00", ["2026-03-09T06:00"]),
        ("0 0 * * *", "America/Santiago", "2026-09-06T00:00", ["2026-09-06T04:00"]),
        ("0 9 30 12 *", "Pacific/Apia", "2011-12-01T00:00", ["2011-12-30T10:00"]),
        ("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-03T15:30"]),
        # repeated: the first occurrence only, or both for a wildcard
        ("30 1 * * *", "America/New_York", "2026-11-01T00:00",
         ["2026-11-01T05:30", "2026-11-02T06:30"]),
        ("*/30 1 * * *", "America/New_York", "2026-11-01T00:00",
         ["2026-11-01T05:00", "2026-11-01T05:30", "2026-11-01T06:00", "2026-11-01T06:30"]),
        ("@hourly", "America/New_York", "2026-11-01T04:30",
         ["2026-11-01T05:00", "2026-11-01T06:00", "2026-11-01T07:00"]),
        # rare dates are found, however far
        ("0 0 29 2 *", "UTC", "2096-03-01T00:00", ["2104-02-29T00:00"]),
        ("0 0 29 2 */7", "UTC", "2088-03-01T00:00", ["2128-02-29T00:00"]),
    ],
)  # fmt: skip
def test_written_examples_of_the_rules(
    expression: str, zone_name: str, after: str, expected: list[str]
) -> None:
    found = islice(fires(cron(expression), zone(zone_name), after=utc(after)), len(expected))

    assert list(found) == [utc(text) for text in expected]


def test_a_wildcard_that_only_ever_names_skipped_minutes_has_no_next_run() -> None:
    in_every_gap = "*/5 2 8-14 3 */7"

    assert next_run(cron(in_every_gap), zone("America/New_York"), FRIDAY_NOON) is None
    assert next_run(cron(in_every_gap), zone("UTC"), FRIDAY_NOON) == utc("2027-03-14T02:00")


def test_a_fire_in_the_very_minute_asked_about_is_not_its_own_successor() -> None:
    rule, berlin = cron("0 9 * * *"), zone("Europe/Berlin")
    fire = utc("2026-11-21T08:00")

    assert next_run(rule, berlin, fire - timedelta(microseconds=1)) == fire
    assert next_run(rule, berlin, fire) == fire + DAY
    assert next_run(rule, berlin, fire + timedelta(seconds=30)) == fire + DAY


def test_an_instant_in_another_zone_is_the_same_instant() -> None:
    tokyo_evening = FRIDAY_NOON.astimezone(timezone(9 * HOUR))

    found = next_run(cron("0 9 * * *"), zone("UTC"), tokyo_evening)

    assert found == utc("2026-11-21T09:00")
    assert found.utcoffset() == timedelta(0)


def test_a_fire_moved_out_of_a_gap_is_found_again_when_it_is_the_first_missed() -> None:
    rule, new_york = cron("30 2 * * *"), zone("America/New_York")
    moved = utc("2026-03-08T07:00")

    found = missed(rule, new_york, first=moved, until=moved, keep=5)

    assert next_run(rule, new_york, moved - timedelta(microseconds=1)) == moved
    assert found is not None
    assert (found.newest, found.count) == (moved, 1)


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        next_run(cron("0 9 * * *"), zone("UTC"), FRIDAY_NOON.replace(tzinfo=None))


def test_an_every_minute_rule_missed_for_a_year_is_counted_with_few_listed() -> None:
    found = missed(
        cron("* * * * *"),
        zone("Europe/Berlin"),
        first=FRIDAY_NOON - 365 * DAY,
        until=FRIDAY_NOON,
        keep=100,
    )

    assert found is not None
    assert found.count == 365 * 24 * 60 + 1
    assert (found.newest, len(found.older)) == (FRIDAY_NOON, 100)
    assert found.rest_first == FRIDAY_NOON - 365 * DAY
    assert found.rest_last == FRIDAY_NOON - 101 * MINUTE


@pytest.mark.parametrize("config", [{"interval_ms": 60_000}, {"every": "1 minute"}])
def test_an_interval_is_a_grid_from_its_anchor(config: Mapping[str, object]) -> None:
    rule = parse_rule("interval", config, anchor_at=FRIDAY_NOON)

    at_creation = list(islice(fires(rule, zone("UTC"), after=FRIDAY_NOON), 10))
    late = next_run(rule, zone("UTC"), FRIDAY_NOON + timedelta(minutes=7, seconds=41))

    assert at_creation == [FRIDAY_NOON + n * MINUTE for n in range(1, 11)]
    assert late == FRIDAY_NOON + 8 * MINUTE


def test_an_interval_keeps_elapsed_time_through_a_clock_change() -> None:
    rule = parse_rule("interval", {"every": "24 hours"}, anchor_at=utc("2026-10-24T09:00"))

    found = islice(fires(rule, zone("Europe/Berlin"), after=utc("2026-10-24T09:00")), 2)

    assert list(found) == [utc("2026-10-25T09:00"), utc("2026-10-26T09:00")]


def test_an_interval_never_fires_at_or_before_its_anchor() -> None:
    rule = parse_rule("interval", {"every": "1 hour"}, anchor_at=FRIDAY_NOON)

    assert next_run(rule, zone("UTC"), FRIDAY_NOON - 5 * DAY) == FRIDAY_NOON + HOUR


def test_missed_fires_of_a_fast_interval_are_summed_up() -> None:
    rule = parse_rule("interval", {"interval_ms": 1500}, anchor_at=FRIDAY_NOON)
    step = timedelta(milliseconds=1500)

    found = missed(rule, zone("UTC"), first=FRIDAY_NOON, until=FRIDAY_NOON + DAY, keep=2)

    assert found is not None
    assert found.count == 57_600
    assert found.newest == FRIDAY_NOON + DAY
    assert found.older == (FRIDAY_NOON + DAY - 2 * step, FRIDAY_NOON + DAY - step)
    assert (found.rest_first, found.rest_last) == (
        FRIDAY_NOON + step,
        FRIDAY_NOON + DAY - 3 * step,
    )


def test_a_one_time_rule_fires_once() -> None:
    rule = parse_rule("one_time", {"run_at": "2026-12-01T10:00:00+01:00"}, anchor_at=None)
    instant = utc("2026-12-01T09:00")

    assert next_run(rule, zone("UTC"), FRIDAY_NOON) == instant
    assert next_run(rule, zone("UTC"), instant) is None
    overdue = missed(rule, zone("UTC"), first=instant, until=instant + DAY, keep=5)
    assert overdue is not None
    assert (overdue.newest, overdue.count) == (instant, 1)


@pytest.mark.parametrize("name", ZONES)
def test_instants_far_in_the_past_and_future_do_not_crash(name: str) -> None:
    for year in (1850, 1900, 1945, 1971, 2200, 9990, 9999):
        after = datetime(year, 12, 31, tzinfo=UTC)

        found = next_run(cron("30 2 * * *"), zone(name), after)

        assert (found is None) == (year == 9999)
        assert found is None or found > after


@dataclass(frozen=True)
class StoredSchedule:
    schedule_type: str = "cron"
    schedule_config: Mapping[str, object] = field(default_factory=dict)
    timezone: str = "Europe/Berlin"
    anchor_at: datetime | None = FRIDAY_NOON
    trigger_type: str = "time_based"


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (StoredSchedule(schedule_config={"cron": "0 9 * * *"}), utc("2026-11-21T08:00")),
        (StoredSchedule("interval", {"every": "30 minutes"}), utc("2026-11-20T12:30")),
        (StoredSchedule("one_time", {"run_at": "2026-12-01T09:00Z"}), utc("2026-12-01T09:00")),
        (StoredSchedule("one_time", {"run_at": "2026-11-20T12:00Z"}), None),
        (StoredSchedule("", {}, trigger_type="manual"), None),
        (StoredSchedule("", {}, trigger_type="event_driven"), None),
        (StoredSchedule("", {}, trigger_type="dependent"), None),
    ],
)
def test_the_next_run_of_a_stored_schedule(
    schedule: StoredSchedule, expected: datetime | None
) -> None:
    assert calculate_next_run(schedule, FRIDAY_NOON) == expected


def test_a_stored_schedule_with_an_unknown_zone_is_refused() -> None:
    schedule = StoredSchedule(schedule_config={"cron": "0 9 * * *"}, timezone="Mars/Base")

    with pytest.raises(InvalidTriggerConfigError, match="Mars/Base"):
        calculate_next_run(schedule, FRIDAY_NOON)
