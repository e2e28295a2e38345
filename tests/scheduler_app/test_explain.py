import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings

from scheduler_app.cron import InvalidTriggerConfigError, never_fires, read_cron
from scheduler_app.explain import describe, explain
from tests.scheduler_app.test_next_run import EXPRESSIONS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def warnings(expression: str, tz: str, *, after: datetime = NOW) -> tuple[str, ...]:
    return explain(expression, tz, after=after, count=5).warnings


def test_an_explanation_serialises_to_the_documented_json() -> None:
    explanation = explain("0 9 * * 1-5", "Europe/Berlin", after=NOW, count=2)

    assert json.loads(json.dumps(asdict(explanation))) == {
        "sentence": "At 09:00, Monday through Friday (Europe/Berlin)",
        "fires": [
            {
                "utc": f"2026-03-0{day}T08:00:00Z",
                "local": f"2026-03-0{day}T09:00:00",
                "offset": "+01:00",
                "starts_at": f"2026-03-0{day}T08:00:00Z",
            }
            for day in (2, 3)
        ],
        "warnings": [],
    }


def test_offsets_west_of_greenwich_and_of_odd_minutes_are_written_in_full() -> None:
    west = explain("0 9 * * *", "America/St_Johns", after=NOW, count=1)
    east = explain("0 9 * * *", "Asia/Kathmandu", after=NOW, count=1)

    assert [west.fires[0].offset, east.fires[0].offset] == ["-03:30", "+05:45"]


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("*/30 9-17 * * 1-5", "Every 30 minutes, between 09:00 and 17:59, Monday through Friday"),
        ("@weekly", "At 00:00, only on Sunday"),
        ("0 0 1,15 * 5", "At 00:00, on day 1 and 15 of the month or on Friday"),
        ("0 0 1 2 1-3",
         "At 00:00, on day 1 of the month or Monday through Wednesday, only in February"),
        ("0 0 1-31 * 5", "At 00:00"),
        ("0-59 * * 1-12 sun-sat", "Every minute"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_the_rule_does(expression: str, sentence: str) -> None:
    explanation = explain(expression, "UTC", after=NOW, count=0)

    assert explanation.sentence == f"{sentence} (UTC)"


@settings(derandomize=True, max_examples=200, database=None)
@given(EXPRESSIONS)
def test_every_accepted_expression_has_a_sentence(expression: str) -> None:
    assert describe("cron", {"cron": expression}, "UTC").endswith(" (UTC)") or never_fires(
        read_cron(expression)
    )


GAP = "On Sunday 29 March 2026 the clock in Europe/Berlin jumps from 02:00 to 03:00"
FOLD = "On Sunday 25 October 2026 the clock in Europe/Berlin goes back from 03:00 to 02:00"


def test_a_fixed_time_inside_a_clock_change_is_warned_of() -> None:
    assert warnings("30 2 * * *", "Europe/Berlin") == (
        f"{GAP}: the fire at 02:30 runs once, at 03:00 instead.",
        f"{FOLD}: the fire at 02:30 runs the first time only.",
    )


def test_a_wildcard_inside_a_clock_change_is_warned_of() -> None:
    assert warnings("*/15 2 * * *", "Europe/Berlin") == (
        f"{GAP}: the 4 fires from 02:00 do not run.",
        f"{FOLD}: the 4 fires from 02:00 run both times.",
    )


def test_a_skipped_day_is_named() -> None:
    assert warnings("0 9 * * *", "Pacific/Apia", after=datetime(2011, 12, 1, tzinfo=UTC))[0] == (
        "On Saturday 31 December 2011 the clock in Pacific/Apia jumps from "
        "00:00 on Friday 30 December 2011 to 00:00: "
        "the fire at 09:00 on Friday 30 December 2011 runs once, at 00:00 instead."
    )


@pytest.mark.parametrize(
    ("expression", "tz"), [("30 2 * * *", "UTC"), ("0 9 * * *", "Europe/Berlin"),
                           ("@hourly", "Europe/Berlin"), ("30 2 1 1 *", "Europe/Berlin")],
)  # fmt: skip
def test_a_rule_that_no_clock_change_touches_has_no_warning(expression: str, tz: str) -> None:
    assert warnings(expression, tz) == ()


@pytest.mark.parametrize(
    ("expression", "tz"), [("0 0 30 2 *", "UTC"), ("*/5 2 8-14 3 */7", "America/New_York")]
)
def test_a_rule_that_never_fires_says_so(expression: str, tz: str) -> None:
    explanation = explain(expression, tz, after=NOW, count=3)

    assert explanation.fires == ()
    assert explanation.warnings == ("Never fires in the next 41 years.",)


def test_a_rule_of_every_minute_says_so() -> None:
    assert warnings("* 9-10 * * *", "UTC") == (
        "Fires every minute, 120 times on each day that matches.",
    )


def test_a_malformed_expression_and_an_unknown_zone_are_refused() -> None:
    with pytest.raises(InvalidTriggerConfigError, match="minute 99 is outside 0-59"):
        explain("99 * * * *", "UTC", after=NOW, count=5)
    with pytest.raises(InvalidTriggerConfigError, match="Mars/Base"):
        explain("0 9 * * *", "Mars/Base", after=NOW, count=5)


@pytest.mark.parametrize(
    ("schedule_type", "config", "sentence"),
    [
        ("interval", {"every": "30 minutes"}, "Every 30 minutes"),
        ("interval", {"interval_ms": 3_600_000}, "Every hour"),
        ("interval", {"interval_ms": 90_500}, "Every 1 minute 30 seconds 500 milliseconds"),
        (
            "one_time",
            {"run_at": "2026-12-01T09:00:00Z"},
            "Once, on Tuesday 1 December 2026 at 10:00 (Europe/Berlin)",
        ),
        ("cron", {"cron": "@daily"}, "At 00:00 (Europe/Berlin)"),
    ],
)
def test_each_kind_of_schedule_is_described_in_a_line(
    schedule_type: str, config: Mapping[str, object], sentence: str
) -> None:
    assert describe(schedule_type, config, "Europe/Berlin") == sentence
