"""A beat whose clock is not PostgreSQL's says so, once a minute, with both instants."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_app import clocks
from scheduler_app.clocks import LOOK_SECONDS, Comparison, difference

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == clocks.__name__]


@pytest.mark.django_db
@pytest.mark.parametrize("ahead", [timedelta(seconds=-30), timedelta(seconds=30)])
def test_clocks_that_differ_are_named_once_a_minute(
    caplog: pytest.LogCaptureFixture, ahead: timedelta
) -> None:
    read: list[datetime] = []

    def wrong() -> datetime:
        read.append(datetime.now(UTC) + ahead)
        return read[-1]

    comparison = Comparison(read=wrong)
    with caplog.at_level(logging.WARNING):
        comparison.make_when_due()
        comparison.make_when_due()
        in_one_minute = warnings(caplog)
        comparison._looked_at -= LOOK_SECONDS
        comparison.make_when_due()

    assert len(in_one_minute) == 1
    assert read[1].isoformat() in in_one_minute[0]
    assert "NTP" in in_one_minute[0]
    assert len(warnings(caplog)) == 2


@pytest.mark.django_db
def test_clocks_that_agree_are_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Comparison().make_when_due()

    assert warnings(caplog) == []


def test_the_time_that_a_question_takes_is_no_difference() -> None:
    asked, answered = NOON, NOON + 4 * SECOND

    assert difference(NOON + SECOND, earliest=asked, latest=answered) == timedelta()
    assert difference(NOON - SECOND, earliest=asked, latest=answered) == SECOND
    assert difference(NOON + 7 * SECOND, earliest=asked, latest=answered) == 3 * SECOND
