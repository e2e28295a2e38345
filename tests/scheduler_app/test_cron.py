from datetime import date

import pytest

from scheduler_app.cron import (
    InvalidTriggerConfigError,
    parse_cron,
    read_cron,
    validate_cron_expression,
)
from tests.scheduler_app import oracle

REFUSED = [
    ("", "0 fields"),
    ("0 9 * *", "4 fields"),
    ("0 0 9 * * *", "6 fields"),
    ("0 0 9 * * * 2026", "7 fields"),
    ("99 * * * *", "minute 99 is outside 0-59"),
    ("0 24 * * *", "hour 24 is outside 0-23"),
    ("0 0 0 * *", "day of month 0 is outside 1-31"),
    ("0 0 1 13 *", "month 13 is outside 1-12"),
    ("0 0 * * 8", "weekday 8 is outside 0-7"),
    ("5-1 * * * *", "runs backwards"),
    ("0 0 * * fri-sun", "runs backwards"),
    ("*/0 * * * *", "step 0"),
    ("*/1000000 * * * *", "step 1000000"),
    ("0-10/12 * * * *", "step 12 is outside 1-11"),
    ("3/5 * * * *", "write 3-59/5"),
    ("-1 * * * *", "not in crontab"),
    ("1,,2 * * * *", "not in crontab"),
    ("1- * * * *", "not in crontab"),
    ("R * * * *", "not in crontab"),
    ("H * * * *", "not in crontab"),
    ("H(0-29) * * * *", "not in crontab"),
    ("0 0 L * *", "not in crontab"),
    ("0 0 15W * *", "not in crontab"),
    ("0 0 ? * 1", "not in crontab"),
    ("0 0 * * 1#2", "not in crontab"),
    ("0 0 * * 5L", "not in crontab"),
    ("0 0 * foo *", "'foo' is not a month"),
    ("mon 0 * * *", "'mon' is not a minute"),
    ("@reboot", "none of the macros"),
    ("@DAILY", "none of the macros"),
    ("@every 5m", "none of the macros"),
    ("0 0 30 2 *", "never fires"),
    ("0 0 31 4,6,9,11 *", "never fires"),
    ("0\x000 9 * * *", "characters"),
    ("\u0660 9 * * *", "characters"),
    ("0 9 * * *\n0 9 * * *", "characters"),
    ("0 9 * * " + "1," * 500_000 + "1", "longer than 500"),
]


@pytest.mark.parametrize(("expression", "reason"), REFUSED)
def test_an_expression_that_crontab_lacks_is_refused_with_the_reason(
    expression: str, reason: str
) -> None:
    with pytest.raises(InvalidTriggerConfigError) as caught:
        parse_cron(expression)

    assert caught.value.field == "cron"
    assert reason in caught.value.reason
    assert not validate_cron_expression(expression)


@pytest.mark.parametrize(
    "expression",
    [
        *oracle.MACROS,
        "0 9 * * *",
        "*/30 9-17 * * 1-5",
        "0 0 29 2 *",
        "  0\t9 * *  MON-fri ",
        "08 09 01 Jan,DEC sun",
        "5-5 * * * 7-7",
        "*/60 */24 * */12 *",
        "*/15,7 * * * *",
    ],
)
def test_an_expression_of_crontab_is_accepted_and_kept_as_given(expression: str) -> None:
    assert validate_cron_expression(expression)
    assert parse_cron(expression).expression == expression


FIELD_FORMS = [
    "*",
    "*/2",
    "*/5",
    "1",
    "5-5",
    "1-5",
    "2-7/2",
    "1-7/6",
    "3-6/3",
    "1,3,5",
    "1-2,5-6",
    "*/4,3",
    "6,*/3",
    "7",
    "7-7",
    "1-1/1",
]


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("form", FIELD_FORMS)
def test_every_form_of_a_field_means_the_same_to_the_oracle(form: str, position: int) -> None:
    words = ["*"] * 5
    words[position] = form

    rule, pattern = read_cron(" ".join(words)), oracle.Pattern(" ".join(words))

    assert set(rule.times) == {
        hour * 60 + minute for hour in pattern.hours for minute in pattern.minutes
    }
    assert rule.days == pattern.days
    assert rule.months == pattern.months
    assert rule.weekdays == pattern.weekdays


@pytest.mark.parametrize(
    ("day_fields", "matches"),
    [
        ("13 * 5", [date(2026, 2, 6), date(2026, 2, 13), date(2026, 1, 13)]),  # either
        ("*/2 * 5", [date(2026, 2, 13), date(2026, 2, 27)]),  # odd and a Friday
        ("13 * */5", [date(2026, 2, 13), date(2026, 3, 13)]),  # the 13th, Sunday or Friday
        ("1-31 * 5", [date(2026, 2, 3), date(2026, 2, 6)]),  # every date is a restriction too
    ],
)
def test_either_day_field_may_match_only_when_both_are_restricted(
    day_fields: str, matches: list[date]
) -> None:
    rule = parse_cron(f"0 0 {day_fields}")

    assert all(rule.matches_day(day) for day in matches)


def test_a_day_field_that_begins_with_a_star_must_match_as_well() -> None:
    odd_fridays = parse_cron("0 0 */2 * 5")

    assert not odd_fridays.matches_day(date(2026, 2, 6))
    assert not odd_fridays.matches_day(date(2026, 2, 11))


def test_rules_of_the_same_expression_are_one_key() -> None:
    assert {parse_cron("0 9 * * *"): "cached"}[parse_cron("0 9 * * *")] == "cached"
    assert parse_cron("0 9 * * *") != parse_cron("0 10 * * *")
