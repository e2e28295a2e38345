"""One execution alone: which limits hold it back and how far they are used up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from executions_app import clock, ids
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app.limiting import limits_in_force
from scheduler_app.models import Limit
from tests.factories import ScheduleFactory
from tests.rest import signed_in

pytestmark = pytest.mark.django_db

SENTENCE = "Waits: limit tenant:acme is 1, 1 is queued or running."


@pytest.fixture(autouse=True)
def limits_are_read_again() -> Iterator[None]:
    limits_in_force.forget()
    yield
    limits_in_force.forget()


def limit(key: str, most: int) -> None:
    Limit.objects.create(id=ids.new(clock.now()), key=key, max_concurrent=most)
    limits_in_force.forget()


@pytest.fixture
def held(owner: User) -> Execution:
    """The second of two where one may run at once."""
    limit("key:tenant:*", 1)
    schedule = ScheduleFactory.create(
        owner=owner, overlap_policy="allow", limit_key="tenant:{tenant}", run_ttl_ms=60_000
    )
    for _ in range(2):
        last = schedules.trigger(schedule, actor=SYSTEM, parameters={"tenant": "acme"})
    return Execution.objects.get(id=last)


def test_an_execution_says_over_http_what_it_waits_for(owner: User, held: Execution) -> None:
    said = signed_in(owner).get(f"/api/execution/executions/{held.number}").json()

    assert (said["held_by"], said["why"]) == ("limit:key:tenant:acme", SENTENCE)
    assert (said["limit_key"], said["unique_key"]) == ("tenant:acme", None)
    assert said["expires_at"] is not None


def test_an_execution_says_in_the_admin_what_it_waits_for(held: Execution, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))

    page = client.get(reverse("admin:executions_app_execution_change", args=[held.id]))

    assert SENTENCE in page.content.decode()


def test_the_status_tells_how_many_agents_may_run_by_the_limit_that_holds(owner: User) -> None:
    caller = signed_in(owner)
    before = caller.get("/api/scheduler/status").json()["slots"]
    limit("task:agent", 2)

    after = caller.get("/api/scheduler/status").json()["slots"]

    assert (before, after) == ({"used": 0, "max": 5}, {"used": 0, "max": 2})
