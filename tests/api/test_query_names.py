"""A name in the query that nobody knows is refused with those that are known, on every path."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tests.rest import signed_in

pytestmark = pytest.mark.django_db

SCHEDULES = "/api/scheduler/schedules"


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


@pytest.mark.parametrize(
    "path",
    [
        "/api/execution/executions",
        SCHEDULES,
        "/api/scheduler/calendars",
        "/api/scheduler/decisions",
        "/api/scheduler/limits",
        "/api/scheduler/locks",
        "/api/scheduler/status",
        "/api/scheduler/upcoming",
        "/api/scheduler/lint",
        "/api/errors/errors",
        "/api/errors/dead-letters",
    ],
)
def test_an_unknown_name_is_refused(root: User, path: str) -> None:
    answer = signed_in(root).get(path, {"statuss": "failed", "page_size": "5"})

    assert answer.status_code == 400, path
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/statuss", "unknown")


def test_the_known_names_are_told(root: User) -> None:
    listing = signed_in(root).get(SCHEDULES, {"taskType": "act", "nmae": "x", "format": "json"})
    asking = signed_in(root).post("/api/scheduler/preview?zone=UTC", {"cron": "0 9 * * *"})

    (error,) = listing.json()["errors"]
    assert error["pointer"] == "/nmae"
    for known in ("name", "task_type", "page_size", "cursor"):
        assert f" {known}" in error["detail"]
    assert asking.json()["errors"][0]["detail"].endswith("known are: none")


def test_an_act_with_an_unknown_name_does_nothing(root: User) -> None:
    answer = signed_in(root).post("/api/scheduler/stop?dry_run=true")

    assert answer.status_code == 400
    assert signed_in(root).get("/api/scheduler/status").json()["scheduler_running"] is True


def test_who_is_not_signed_in_learns_no_names() -> None:
    answer = APIClient().get(SCHEDULES, {"nmae": "x"})

    assert answer.status_code == 401


def test_a_sender_of_webhooks_may_add_to_the_address(root: User) -> None:
    answer = signed_in(root).post("/api/webhooks/nobody?source=shop", {})

    assert answer.status_code == 401
