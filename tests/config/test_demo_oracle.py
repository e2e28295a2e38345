"""The demo's fire oracle, against instants worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.demo import oracle

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def cron(rule: str, zone: str, since: str, until: str) -> list[str]:
    fires = oracle.fires(
        "cron",
        {"cron": rule},
        zone=zone,
        since=datetime.fromisoformat(since),
        until=datetime.fromisoformat(until),
    )
    return [one.strftime("%m-%d %H:%M") for one in fires]


def test_an_interval_is_a_grid_from_its_anchor_which_does_not_fire() -> None:
    anchor = NOON + timedelta(microseconds=123)

    fires = oracle.fires(
        "interval",
        {"interval_ms": 1500},
        zone="UTC",
        since=anchor,
        until=anchor + timedelta(seconds=4.5),
    )

    assert [one - anchor for one in fires] == [timedelta(seconds=s) for s in (1.5, 3, 4.5)]


def test_a_one_time_rule_fires_once_within_its_span() -> None:
    def fires(until: datetime) -> list[datetime]:
        config = {"run_at": "2026-11-21T13:00:05+01:00"}
        return oracle.fires("one_time", config, zone="UTC", since=NOON, until=until)

    assert fires(NOON) == []
    assert fires(NOON + timedelta(hours=1)) == [NOON + timedelta(seconds=5)]


def test_every_minute_fires_on_whole_minutes_after_the_start() -> None:
    found = cron("* * * * *", "Europe/Berlin", "2026-11-21T12:00:00Z", "2026-11-21T12:02:59Z")

    assert found == ["11-21 12:01", "11-21 12:02"]


def test_a_rule_follows_the_clock_of_its_zone() -> None:
    found = cron("0 9 * * mon-fri", "Asia/Tokyo", "2026-11-20T12:00:00Z", "2026-11-24T12:00:00Z")

    assert found == ["11-23 00:00", "11-24 00:00"]


def test_a_skipped_time_fires_once_at_the_first_instant_after_the_gap() -> None:
    found = cron(
        "0,30 2 * * *", "America/New_York", "2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00"
    )

    assert found == ["03-08 07:00"]


def test_a_repeated_time_fires_on_its_first_occurrence_only() -> None:
    found = cron(
        "30 1 * * *", "America/New_York", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"
    )

    assert found == ["11-01 05:30"]


def test_a_repeated_time_does_not_fire_again_for_who_starts_between_its_occurrences() -> None:
    found = cron("30 1 * * *", "America/New_York", "2026-11-01T05:45:00Z", "2026-11-01T12:00:00Z")

    assert found == []


def test_a_wildcard_rule_follows_the_clock_through_gap_and_repetition() -> None:
    in_spring = cron(
        "30 * * * *", "America/New_York", "2026-03-08T06:00:00Z", "2026-03-08T08:00:00Z"
    )
    in_autumn = cron(
        "30 * * * *", "America/New_York", "2026-11-01T05:00:00Z", "2026-11-01T07:00:00Z"
    )

    assert in_spring == ["03-08 06:30", "03-08 07:30"]
    assert in_autumn == ["11-01 05:30", "11-01 06:30"]


def test_of_two_restricted_day_fields_either_may_match() -> None:
    found = cron("0 0 13 * fri", "UTC", "2026-11-01T00:00:00Z", "2026-11-20T00:00:00Z")

    assert found == ["11-06 00:00", "11-13 00:00", "11-20 00:00"]


def test_a_day_field_that_begins_with_a_star_must_match_as_well() -> None:
    found = cron("0 0 */2 * 0", "UTC", "2026-11-01T00:00:00Z", "2026-11-30T00:00:00Z")

    assert found == ["11-15 00:00", "11-29 00:00"]


@pytest.mark.parametrize(
    ("rule", "hours"),
    [("0 8-12/2 * * *", [8, 10, 12]), ("0 20/2 * * *", [20, 22]), ("0 3,1 * * 7,1-6", [1, 3])],
)
def test_ranges_steps_and_lists_are_read(rule: str, hours: list[int]) -> None:
    found = cron(rule, "UTC", "2026-11-21T00:00:00Z", "2026-11-21T23:59:00Z")

    assert found == [f"11-21 {hour:02}:00" for hour in hours]


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("cron", {"cron": "* * * *"}),
        ("cron", {"cron": "61 * * * *"}),
        ("cron", {"cron": "x * * * *"}),
        ("solar", {}),
    ],
)
def test_what_the_oracle_cannot_read_it_refuses(kind: str, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"oracle|invalid literal"):
        oracle.fires(kind, config, zone="UTC", since=NOON, until=NOON)
