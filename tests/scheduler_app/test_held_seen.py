"""What is held back is counted where the whole is looked at, and found by what holds it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from executions_app import clock
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app import overview
from tests.factories import ExecutionFactory, UserFactory
from tests.rest import ids_of, signed_in
from tests.terminal import run

pytestmark = pytest.mark.django_db

PLACES = ("limit:queue:low", "limit:key:tenant:a_b", "rate:key:tenant:acme", "unique:report")
EXECUTIONS = "/api/execution/executions"


@pytest.fixture
def held(owner: User) -> dict[str, Execution]:
    """One execution for each of PLACES, and two that nothing holds."""
    ExecutionFactory.create(owner=owner)
    ExecutionFactory.create(owner=owner, status=ExecutionStatus.PENDING)
    return {
        place: ExecutionFactory.create(owner=owner, status=ExecutionStatus.PENDING, held_by=place)
        for place in PLACES
    }


def test_the_status_counts_what_is_held(owner: User, held: dict[str, Execution]) -> None:
    status = signed_in(owner).get("/api/scheduler/status").json()

    assert status["held"] == len(held)
    assert run("scheduler", "status", "--json").document["held"] == len(held)


def test_the_overview_says_how_many_of_what_is_pending_are_held(
    owner: User, held: dict[str, Execution], client: Client
) -> None:
    counts = {one.status: one for one in overview.read(owner, now=clock.now()).counts}
    client.force_login(owner)

    assert (counts["pending"].number, counts["pending"].span) == (5, "now, 4 held")
    assert (counts["queued"].number, counts["queued"].span) == (1, "now")
    assert b"now, 4 held" in client.get("/").content


def test_the_overview_tells_nobody_what_is_held_of_others(held: dict[str, Execution]) -> None:
    counts = overview.read(UserFactory.create(), now=clock.now()).counts

    assert {one.span for one in counts} == {"now", "last hour"}


@pytest.mark.parametrize(
    ("beginning", "found"),
    [
        ("limit:", PLACES[:2]),
        ("limit:key:tenant:a_b", PLACES[1:2]),
        ("limit:key:tenant:a_", PLACES[1:2]),
        ("limit:key:tenant:a%", ()),
        ("rate:", PLACES[2:3]),
        ("unique:report", PLACES[3:]),
    ],
)
def test_executions_are_chosen_by_the_beginning_of_what_holds_them(
    owner: User,
    held: dict[str, Execution],
    client: Client,
    beginning: str,
    found: tuple[str, ...],
) -> None:
    wanted = {str(held[place].id) for place in found}
    client.force_login(User.objects.create_superuser("root"))

    rest = signed_in(owner).get(EXECUTIONS, {"heldBy": beginning}).json()
    terminal = run("execution", "list", "--held-by", beginning, "--json").document
    admin = client.get(reverse("admin:executions_app_execution_changelist"), {"held_by": beginning})

    assert set(ids_of(rest)) == wanted
    assert {one["id"] for one in terminal} == wanted
    assert {str(one.id) for one in admin.context["cl"].result_list} == wanted


def test_on_the_terminal_an_empty_beginning_is_all_that_is_held(held: dict[str, Execution]) -> None:
    listed = run("execution", "list", "--held-by", "", "--json").document

    assert {one["id"] for one in listed} == {str(one.id) for one in held.values()}
