"""Incidents over HTTP, at a terminal and in the admin: who sees them and what is decided there."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from errors_app.incidents import folding
from errors_app.models import Incident
from errors_app.taxonomy import ErrorClass
from executions_app.models import AuditEntry, Event
from tests.errors_app.failures import fail
from tests.factories import UserFactory
from tests.rest import ids_of, signed_in
from tests.terminal import run

INCIDENTS = "/api/errors/incidents"
PAGE = "admin:errors_app_incident_changelist"


@pytest.fixture
def incident(operator: User) -> Incident:
    fail(owner_id=operator.pk, schedule_id=uuid4())
    folding.fold()
    return Incident.objects.get()


@pytest.fixture
def caller(operator: User) -> APIClient:
    return signed_in(operator)


def test_an_incident_is_shown_with_its_trend(caller: APIClient, incident: Incident) -> None:
    row = caller.get(f"{INCIDENTS}/{incident.id}").json()

    assert (row["id"], row["schedule_id"]) == (str(incident.id), str(incident.schedule_id))
    assert (row["status"], row["count"], row["name"]) == ("open", 1, "a job")
    assert row["title"] == "the endpoint answered <n>"
    assert (row["trend"]["direction"], sum(row["trend"]["hours"])) == ("rising", 1)


def test_a_list_begins_with_what_was_seen_last_and_holds_what_is_asked_for(
    caller: APIClient, operator: User, incident: Incident
) -> None:
    fail("wrong", owner_id=operator.pk, error_class=ErrorClass.PERMANENT)
    folding.fold()
    newer = Incident.objects.exclude(id=incident.id).get()

    def listed(query: str = "") -> list[str]:
        return ids_of(caller.get(f"{INCIDENTS}?{query}").json())

    assert listed() == [str(newer.id), str(incident.id)]
    assert listed("ordering=last_seen_at") == [str(incident.id), str(newer.id)]
    assert listed("severity=high,critical") == [str(newer.id)]
    assert listed("errorClass=transient") == [str(incident.id)]
    assert listed(f"scheduleId={incident.schedule_id}") == [str(incident.id)]
    assert listed("status=resolved") == []
    assert caller.get(f"{INCIDENTS}?status=solved").status_code == 400


def test_the_errors_of_an_incident_are_found_by_it(
    caller: APIClient, operator: User, incident: Incident
) -> None:
    fail("another", owner_id=operator.pk)
    folding.fold()

    (row,) = caller.get(f"/api/errors/errors?incident={incident.id}").json()["results"]

    assert (row["id"], row["incident_id"]) == (str(incident.last_error_id), str(incident.id))


@pytest.mark.parametrize(
    ("act", "status"),
    [("acknowledge", "acknowledged"), ("ignore", "ignored"), ("resolve", "resolved")],
)
def test_a_decision_over_http_is_kept(
    caller: APIClient, operator: User, incident: Incident, act: str, status: str
) -> None:
    row = caller.post(f"{INCIDENTS}/{incident.id}/{act}", {"note": "seen"}).json()
    again = caller.post(f"{INCIDENTS}/{incident.id}/{act}")

    assert (row["status"], row["note"], row["handled_by"]) == (status, "seen", operator.pk)
    assert again.status_code == 409


def test_what_was_resolved_too_early_is_opened_again(
    caller: APIClient, operator: User, incident: Incident
) -> None:
    too_early = caller.post(f"{INCIDENTS}/{incident.id}/reopen")
    caller.post(f"{INCIDENTS}/{incident.id}/resolve")

    row = caller.post(f"{INCIDENTS}/{incident.id}/reopen", {"note": "it is not"}).json()

    assert too_early.status_code == 409
    assert (row["status"], row["note"], row["handled_by"]) == ("open", "it is not", operator.pk)
    assert (row["resolved_at"], row["reopened_count"]) == (None, 0)
    assert row["reopened_at"] is not None
    told = Event.objects.filter(type__startswith="incident:").order_by("id")
    assert [one.type for one in told] == [
        "incident:opened", "incident:resolved", "incident:reopened",
    ]  # fmt: skip
    assert AuditEntry.objects.filter(action="incident.reopened").exists()


def test_incidents_of_others_are_not_there(incident: Incident) -> None:
    stranger = signed_in(UserFactory.create())

    answers = [
        stranger.get(f"{INCIDENTS}/{incident.id}"),
        *(stranger.post(f"{INCIDENTS}/{incident.id}/{act}") for act in ("ignore", "resolve")),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert ids_of(stranger.get(INCIDENTS).json()) == []
    incident.refresh_from_db()
    assert incident.status == "open"


def test_a_longer_page_of_incidents_costs_no_more_statements(
    caller: APIClient, operator: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    caller.get(INCIDENTS)
    for word in ("one", "two", "three"):
        fail(word, owner_id=operator.pk)
    folding.fold()

    with django_assert_num_queries(4):  # token, incidents, clock, hours
        page = caller.get(f"{INCIDENTS}?page_size=3").json()

    assert len(page["results"]) == 3


def test_incidents_are_listed_shown_and_decided_at_a_terminal(incident: Incident) -> None:
    User.objects.create_superuser("root")

    (listed,) = run("incidents", "list", "--status", "open", "--json").document
    shown = run("incidents", "show", str(incident.id)).stdout
    decided = run("incidents", "resolve", str(incident.id), "--note", "fixed")
    again = run("incidents", "resolve", str(incident.id))
    missing = run("incidents", "show", str(uuid4()))

    assert (listed["id"], listed["trend"]["direction"]) == (str(incident.id), "rising")
    assert "the endpoint answered <n>" in shown
    assert decided.stdout.strip() == f"{incident.id} is resolved"
    assert (again.exit_code, missing.exit_code) == (5, 4)
    incident.refresh_from_db()
    assert (incident.status, incident.note) == ("resolved", "fixed")
    assert run("incidents", "list", "--status", "open", "--json").document == []


def test_errors_of_an_incident_are_listed_at_a_terminal(incident: Incident) -> None:
    fail("another")
    folding.fold()

    listed = run("errors", "list", "--incident", str(incident.id), "--json").document

    assert [one["id"] for one in listed] == [str(incident.last_error_id)]


def test_incidents_are_looked_at_and_decided_in_the_admin(
    client: Client, incident: Incident
) -> None:
    client.force_login(User.objects.create_superuser("root"))

    chosen = {"action": "acknowledge", "_selected_action": [str(incident.id)]}
    listed = client.post(reverse(PAGE), chosen, follow=True).content.decode()
    shown = client.get(reverse("admin:errors_app_incident_change", args=[incident.id]))

    assert "the endpoint answered" in listed
    assert "rising: 0 0" in shown.content.decode()
    incident.refresh_from_db()
    assert incident.status == "acknowledged"
