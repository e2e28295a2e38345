from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from scheduler_app.cron import InvalidTriggerConfigError
from scheduler_app.rules import parse_rule, zone

FRIDAY_NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule_type", "config", "wrong"),
    [
        ("cron", {"cron": "99 * * * *"}, "cron"),
        ("cron", {"cron": 5}, "cron"),
        ("cron", {}, "cron"),
        ("cron", {"cron": "0 9 * * *", "tz": "UTC"}, "tz"),
        ("cron", ["0 9 * * *"], "schedule_config"),
        ("interval", {}, "interval_ms"),
        ("interval", None, "schedule_config"),
        ("interval", {"interval_ms": 0}, "interval_ms"),
        ("interval", {"interval_ms": -60_000}, "interval_ms"),
        ("interval", {"interval_ms": 999}, "interval_ms"),
        ("interval", {"interval_ms": True}, "interval_ms"),
        ("interval", {"interval_ms": 60_000.0}, "interval_ms"),
        ("interval", {"interval_ms": "60000"}, "interval_ms"),
        ("interval", {"interval_ms": 315_360_000_001}, "interval_ms"),
        ("interval", {"interval_ms": 10**40}, "interval_ms"),
        ("interval", {"every": "sometimes"}, "every"),
        ("interval", {"every": "0 minutes"}, "every"),
        ("interval", {"every": "999999999999 weeks"}, "every"),
        ("interval", {"every": 30}, "every"),
        ("interval", {"every": "1 hour", "interval_ms": 60_000}, "interval_ms"),
        ("one_time", {"run_at": "tomorrow"}, "run_at"),
        ("one_time", {"run_at": "2026-12-01T09:00:00"}, "run_at"),
        ("one_time", {"run_at": "0001-01-01T00:00:00+14:00"}, "run_at"),
        ("one_time", {"run_at": 1_796_000_000}, "run_at"),
        ("sometimes", {"cron": "0 9 * * *"}, "schedule_type"),
        ("", {}, "schedule_type"),
    ],
)
def test_unusable_settings_name_the_field(
    schedule_type: str, config: Mapping[str, object], wrong: str
) -> None:
    with pytest.raises(InvalidTriggerConfigError) as caught:
        parse_rule(schedule_type, config, anchor_at=FRIDAY_NOON)

    assert caught.value.field == wrong
    assert caught.value.reason in str(caught.value)


@pytest.mark.parametrize("anchor", [None, FRIDAY_NOON.replace(tzinfo=None)])
def test_an_interval_without_an_anchor_is_refused(anchor: datetime | None) -> None:
    with pytest.raises(InvalidTriggerConfigError) as caught:
        parse_rule("interval", {"interval_ms": 60_000}, anchor_at=anchor)

    assert caught.value.field == "anchor_at"


@pytest.mark.parametrize(
    "name",
    ["", "Europe", "europe/berlin", "Mars/Base", "localtime", "Factory", "../etc/passwd",
     "/usr/share/zoneinfo/UTC", "right/UTC", "Europe/Berlin\x00", "UTC+1"],
)  # fmt: skip
def test_a_name_that_is_no_iana_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidTriggerConfigError) as caught:
        zone(name)

    assert caught.value.field == "timezone"
