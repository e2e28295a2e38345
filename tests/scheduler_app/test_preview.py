"""A preview tells when a schedule would run that has bounds, a window or a calendar."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from executions_app.audit import Actor
from scheduler_app import calendars
from scheduler_app.models import BusinessCalendar, Schedule
from tests.factories import UserFactory
from tests.rest import signed_in

pytestmark = pytest.mark.django_db

PREVIEW = "/api/scheduler/preview"
MONDAY = "2031-01-06T00:00:00Z"  # far enough away to stay ahead
HOURLY = {"cron": "0 * * * *", "start_at": MONDAY, "count": 3}
MORNING = {"hours": ["09:00-11:00"], "weekdays": ["mon"]}


@pytest.fixture
def caller(owner: User) -> APIClient:
    return signed_in(owner)


def holidays(owner: User, *days: str) -> BusinessCalendar:
    words = {"name": "bank", "weekend": [], "holidays": [{"date": day} for day in days]}
    return calendars.create(calendars.parse(words), owner_id=owner.pk, actor=Actor.of(owner))


def starts(caller: APIClient, **words: Any) -> list[str]:
    answer = caller.post(PREVIEW, {**HOURLY, **words})
    assert answer.status_code == 200, answer.content
    return [one["starts_at"] for one in answer.json()["fires"]]


def test_it_begins_with_its_start(caller: APIClient) -> None:
    assert starts(caller) == [f"2031-01-06T0{hour}:00:00Z" for hour in range(3)]


@pytest.mark.parametrize(
    "rule",
    [
        {"schedule_type": "interval", "schedule_config": {"every": "1 hour"}},
        {"scheduleType": "cron", "scheduleConfig": {"cron": "0 * * * *"}},
    ],
)
def test_it_begins_with_its_start_whatever_the_rule(caller: APIClient, rule: Any) -> None:
    said = caller.post(PREVIEW, {**rule, "start_at": MONDAY, "count": 3}).json()

    assert [one["utc"] for one in said["fires"]] == starts(caller)


@pytest.mark.parametrize("bound", [{"end_at": "2031-01-06T01:00:00Z"}, {"max_runs": 2}])
def test_it_shows_no_more_than_its_bounds_leave_and_says_so(
    caller: APIClient, bound: dict[str, Any]
) -> None:
    said = caller.post(PREVIEW, {**HOURLY, **bound}).json()

    assert [one["utc"][-9:] for one in said["fires"]] == ["00:00:00Z", "01:00:00Z"]
    assert "It ends after these." in said["warnings"]


def test_it_leaves_out_what_its_window_skips_and_counts_that(caller: APIClient) -> None:
    said = caller.post(PREVIEW, {**HOURLY, "execution_window": MORNING}).json()

    shown = [one["utc"] for one in said["fires"]]
    assert shown == ["2031-01-06T09:00:00Z", "2031-01-06T10:00:00Z", "2031-01-13T09:00:00Z"]
    skipped = 7 * 24 + 9 - 2
    expected = f"{skipped} fires are skipped up to 2031-01-13T08:00:00Z: its window or its calendar"
    assert any(one.startswith(expected) for one in said["warnings"])


def test_it_shows_when_those_start_that_wait_for_an_opening(caller: APIClient) -> None:
    said = caller.post(
        PREVIEW, {**HOURLY, "execution_window": MORNING, "outside_window": "next_opening"}
    ).json()

    assert [one["utc"][11:16] for one in said["fires"]] == ["00:00", "01:00", "02:00"]
    assert {one["starts_at"] for one in said["fires"]} == {"2031-01-06T09:00:00Z"}


def test_a_window_is_one_of_its_zone(caller: APIClient) -> None:
    shown = starts(caller, execution_window=MORNING, timezone="Asia/Tokyo", count=1)

    assert shown == ["2031-01-06T00:00:00Z"]


@pytest.mark.parametrize("name", ["bank", ""])
def test_it_follows_a_calendar_by_name_or_id(caller: APIClient, owner: User, name: str) -> None:
    calendar = holidays(owner, "2031-01-06")

    assert starts(caller, calendar=name or str(calendar.id), count=1) == ["2031-01-07T00:00:00Z"]


def test_a_window_that_its_calendar_always_closes_is_told(caller: APIClient, owner: User) -> None:
    holidays(owner, "2031-01-06")
    end = {"end_at": "2031-01-06T23:00:00Z", "calendar": "bank"}

    said = caller.post(PREVIEW, {**HOURLY, **end}).json()

    assert said["fires"] == []
    assert "Never runs: its end leaves no fire." in said["warnings"]
    assert any(one.startswith("24 fires are skipped") for one in said["warnings"])


@pytest.mark.parametrize(
    ("words", "pointer"),
    [
        ({"execution_window": {"hours": ["9-11"]}}, "/execution_window/hours"),
        ({"execution_window": {"days": ["mon"]}}, "/execution_window/days"),
        ({"calendar": "theirs"}, "/calendar"),
        ({"end_at": "2031-01-05T00:00:00Z"}, "/end_at"),
        ({"max_runs": 0}, "/max_runs"),
        ({"outside_window": "perhaps"}, "/outside_window"),
    ],
)
def test_what_is_wrong_is_named(caller: APIClient, words: dict[str, Any], pointer: str) -> None:
    stranger = UserFactory.create()
    theirs = calendars.parse({"name": "theirs"})
    calendars.create(theirs, owner_id=stranger.pk, actor=Actor.of(stranger))

    answer = caller.post(PREVIEW, {**HOURLY, **words})

    assert answer.status_code == 400
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


def test_nothing_is_stored(caller: APIClient) -> None:
    starts(caller, execution_window=MORNING)

    assert not Schedule.objects.exists()
