"""What is written about changes of the clock, held against every change of a year in many zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest

from scheduler_app.next_run import fires, parse_rule, zone

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
YEAR = 2026
ZONES = (
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Jerusalem",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/London",
    "Pacific/Auckland",
    "Pacific/Chatham",
)


def offset(zone_name: str, instant: datetime) -> timedelta:
    found = instant.astimezone(ZoneInfo(zone_name)).utcoffset()
    assert found is not None
    return found


def changes(zone_name: str) -> list[datetime]:
    """The first instants of a new offset, to the minute."""
    hours = [datetime(YEAR, 1, 1, tzinfo=UTC) + n * HOUR for n in range(365 * 24)]
    found = []
    for hour in hours:
        if offset(zone_name, hour) != offset(zone_name, hour + HOUR):
            minutes = (hour + n * MINUTE for n in range(1, 61))
            before = offset(zone_name, hour)
            found.append(next(one for one in minutes if offset(zone_name, one) != before))
    return found


def moved(zone_name: str, at: datetime) -> timedelta:
    """How far the clock is set on (or, below zero, back) at a change."""
    return offset(zone_name, at) - offset(zone_name, at - MINUTE)


FORWARD = [(name, at) for name in ZONES for at in changes(name) if moved(name, at) > timedelta()]
BACK = [(name, at) for name in ZONES for at in changes(name) if moved(name, at) < timedelta()]


def around(expression: str, zone_name: str, at: datetime) -> list[datetime]:
    """The fires of the twelve hours before and after an instant."""
    rule = parse_rule("cron", {"cron": expression}, anchor_at=None)
    coming = fires(rule, zone(zone_name), after=at - 12 * HOUR)
    return list(takewhile(lambda fire: fire <= at + 12 * HOUR, coming))


def shown(zone_name: str, at: datetime, *, hour: int) -> list[datetime]:
    """The instants around a change at which the clock shows a tenth minute of this hour."""
    minutes = (at - 12 * HOUR + n * MINUTE for n in range(1, 24 * 60 + 1))
    tz = ZoneInfo(zone_name)
    walls = ((one, one.astimezone(tz)) for one in minutes)
    return [one for one, wall in walls if wall.hour == hour and wall.minute % 10 == 0]


def test_each_of_the_zones_changes_its_clock_both_ways() -> None:
    assert {name for name, _ in FORWARD} == {name for name, _ in BACK} == set(ZONES)


@pytest.mark.parametrize(("zone_name", "at"), FORWARD, ids=str)
def test_a_time_that_is_skipped_runs_once_right_after_the_gap(zone_name: str, at: datetime) -> None:
    inside = at + offset(zone_name, at - MINUTE) + moved(zone_name, at) / 2

    found = around(f"{inside.minute} {inside.hour} * * *", zone_name, at)

    assert found == [at]


@pytest.mark.parametrize(("zone_name", "at"), FORWARD, ids=str)
def test_a_wildcard_makes_nothing_up_for_a_gap(zone_name: str, at: datetime) -> None:
    inside = at + offset(zone_name, at - MINUTE) + moved(zone_name, at) / 2

    found = around(f"*/10 {inside.hour} * * *", zone_name, at)

    assert found == shown(zone_name, at, hour=inside.hour)


@pytest.mark.parametrize(("zone_name", "at"), BACK, ids=str)
def test_a_time_that_comes_twice_runs_on_its_first_occurrence(zone_name: str, at: datetime) -> None:
    middle = at + moved(zone_name, at) / 2
    inside = middle + offset(zone_name, middle)

    found = around(f"{inside.minute} {inside.hour} * * *", zone_name, at)

    assert found == [middle]


@pytest.mark.parametrize(("zone_name", "at"), BACK, ids=str)
def test_a_wildcard_runs_on_both_occurrences(zone_name: str, at: datetime) -> None:
    middle = at + moved(zone_name, at) / 2
    inside = middle + offset(zone_name, middle)

    found = around(f"{inside.minute},*/10 {inside.hour} * * *", zone_name, at)
    wild = around(f"*/10 {inside.hour} * * *", zone_name, at)

    assert wild == shown(zone_name, at, hour=inside.hour)
    assert any(one < at for one in wild)
    assert any(one >= at for one in wild)
    assert len(found) < len(wild)  # a minute named first makes it a fixed time
