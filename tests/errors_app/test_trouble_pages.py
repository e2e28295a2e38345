"""The pages of incidents and endpoints: who sees them, what their forms do, what they cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from errors_app.breakers import recorder
from errors_app.breakers import store as redis_store
from errors_app.incidents import folding, sparkline
from errors_app.models import Breaker, Incident
from executions_app import clock, ids, pages
from executions_app.models import AuditEntry
from executions_app.permissions import OPERATOR
from tests.errors_app.breaking import QUICK_TO_GIVE_UP, SLOW, Listening, a_process, endpoint
from tests.errors_app.breaking import fail as fail_calls
from tests.errors_app.failures import fail
from tests.factories import UserFactory

NOBODYS = UUID("0195f2c4-9000-7a0b-8d11-5a6b7c8d9e0f")
pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    found: User = UserFactory.create(username="ada")
    return found


@pytest.fixture
def browser(ada: User) -> Client:
    return signed_in(ada)


@pytest.fixture
def operator() -> Client:
    user = UserFactory.create()
    user.groups.add(Group.objects.create(name=OPERATOR))
    return signed_in(user)


@pytest.fixture
def incident(ada: User) -> Incident:
    return happened("the disk is full", owner=ada)


def signed_in(user: User, **words: Any) -> Client:
    client = Client(**words)
    client.force_login(user)
    return client


def happened(message: str, *, owner: User, **columns: Any) -> Incident:
    fail(message, owner_id=owner.pk, **columns)
    folding.fold()
    found = Incident.objects.order_by("-id").first()
    assert found is not None
    return found


def opened() -> Breaker:
    """A breaker that is open, in Redis and in the tables."""
    listening, key = Listening(), endpoint()
    fail_calls(a_process(SLOW, listening), key, times=5)
    for change in listening.changes:
        recorder.record(change, worker="worker-1")
    return Breaker.objects.get(key=key)


def text(client: Client, path: str, **headers: str) -> str:
    return client.get(path, headers=headers).content.decode()


@pytest.mark.parametrize("path", ["/incidents", f"/incidents/{NOBODYS}", "/endpoints"])
def test_who_is_not_signed_in_is_asked_to(path: str) -> None:
    whole, fragment = Client().get(path), Client().get(path, headers={"HX-Request": "true"})

    assert (whole.status_code, whole["Location"]) == (302, f"/admin/login/?next={path}")
    assert fragment["HX-Redirect"].startswith("/admin/login/?next=%2F")


@pytest.mark.parametrize("path", ["/incidents", "/endpoints"])
def test_htmx_gets_only_what_changes(operator: Client, path: str) -> None:
    whole = operator.get(path)

    assert "<html" in whole.content.decode()
    assert "<html" not in text(operator, path, **{"HX-Request": "true"})
    assert "HX-Request" in whole["Vary"]
    assert "no-store" in whole["Cache-Control"]


def test_incidents_of_others_are_neither_seen_nor_decided(incident: Incident) -> None:
    bob = signed_in(UserFactory.create(username="bob"))

    assert "the disk is full" not in text(bob, "/incidents?status=all")
    assert bob.get(f"/incidents/{incident.id}").status_code == 404
    assert bob.post(f"/incidents/{incident.id}/resolve").status_code == 404
    incident.refresh_from_db()
    assert incident.status == "open"
    root = signed_in(UserFactory.create(is_superuser=True))
    assert "the disk is full" in text(root, "/incidents")


def test_a_decision_leads_back_and_says_what_became_of_it(
    browser: Client, incident: Incident, ada: User
) -> None:
    words = {"note": "a larger disk", "back": "/incidents?status=open"}

    done = browser.post(f"/incidents/{incident.id}/resolve", words)
    told = text(browser, "/incidents")
    browser.post(f"/incidents/{incident.id}/resolve", words)
    refused = text(browser, f"/incidents/{incident.id}")

    assert (done.status_code, done["Location"]) == (302, "/incidents?status=open")
    assert "The incident is resolved" in told
    assert "cannot move" in refused
    entry = AuditEntry.objects.get(action="incident.resolved")
    assert (entry.actor_id, entry.note) == (ada.pk, "a larger disk")


@pytest.mark.parametrize("back", ["https://example.com/", "//example.com", "javascript:x", ""])
def test_no_form_leads_elsewhere(browser: Client, incident: Incident, back: str) -> None:
    answer = browser.post(f"/incidents/{incident.id}/ignore", {"back": back})

    assert answer["Location"] == f"/incidents/{incident.id}"


@pytest.mark.parametrize("note", ["x" * 2001, "a\x00b"])
def test_a_note_that_cannot_be_kept_changes_nothing(
    browser: Client, incident: Incident, note: str
) -> None:
    browser.post(f"/incidents/{incident.id}/ignore", {"note": note})

    incident.refresh_from_db()
    assert incident.status == "open"
    assert "Nothing was changed" in text(browser, f"/incidents/{incident.id}")


def test_forms_are_for_this_site_and_for_verbs_that_there_are(
    ada: User, incident: Incident
) -> None:
    strict = signed_in(ada, enforce_csrf_checks=True)

    assert strict.post(f"/incidents/{incident.id}/resolve").status_code == 403
    assert signed_in(ada).post(f"/incidents/{incident.id}/delete").status_code == 404
    assert signed_in(ada).get(f"/incidents/{incident.id}/resolve").status_code == 405
    incident.refresh_from_db()
    assert incident.status == "open"


def test_the_list_is_that_of_one_state_and_the_buttons_are_what_may_be_done(
    browser: Client, incident: Incident
) -> None:
    browser.post(f"/incidents/{incident.id}/resolve")

    assert str(incident.id) not in text(browser, "/incidents")
    resolved = text(browser, "/incidents?status=resolved")
    assert f"/incidents/{incident.id}/reopen" in resolved
    assert f"/incidents/{incident.id}/acknowledge" not in resolved
    assert str(incident.id) in text(browser, "/incidents?status=all")
    assert str(incident.id) not in text(browser, f"/incidents?status=all&schedule_id={NOBODYS}")
    wrong = browser.get("/incidents?status=solved")
    assert (wrong.status_code, "choose nothing" in wrong.content.decode()) == (400, True)


def test_names_and_messages_are_shown_as_text(browser: Client, ada: User) -> None:
    made = happened("<img src=x onerror=alert(1)>", owner=ada)
    Incident.objects.update(name="<script>alert(1)</script>", note="<b>bold</b>")

    for path in ("/incidents", f"/incidents/{made.id}"):
        page = text(browser, path)
        assert "<img src=x" not in page
        assert "<script>alert" not in page
        assert "&lt;img src=x" in page


def test_pages_follow_each_other_without_gap_or_double(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_SIZE", 2)
    at = clock.now()
    words = ("one", "two", "three", "four", "five")
    for word in words:
        happened(word, owner=ada, at=at - timedelta(minutes=len(word)))

    seen: list[str] = []
    path = "/incidents"
    while path:
        context = browser.get(path).context
        seen += [row.incident.title for row in context["rows"]]
        path = f"/incidents?{context['page'].next}" if context["page"].next else ""

    assert len(seen) == len(words)
    assert set(seen) == set(words)
    assert browser.get("/incidents?cursor=nonsense").status_code == 200


def test_an_incident_is_shown_with_its_errors_and_costs_no_more_for_many(
    browser: Client, ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    made = happened("the disk is full", owner=ada)
    statements = 8  # session, user, incident, clock, hours, errors, role, open questions
    with django_assert_num_queries(statements):
        browser.get(f"/incidents/{made.id}")

    for _ in range(5):
        happened("the disk is full", owner=ada)

    with django_assert_num_queries(statements):
        page = text(browser, f"/incidents/{made.id}")
    assert page.count("not kept") == 6


def test_endpoints_are_for_operators(browser: Client, operator: Client) -> None:
    breaker = opened()

    refused = browser.get("/endpoints")
    denied = browser.post(f"/endpoints/{breaker.id}/reset")

    assert (refused.status_code, denied.status_code) == (403, 403)
    assert "Only operators may see endpoints" in refused.content.decode()
    assert "Endpoints" not in text(browser, "/incidents")
    assert breaker.key in text(operator, "/endpoints")
    breaker.refresh_from_db()
    assert breaker.state == "open"


def test_an_operator_resets_an_endpoint(operator: Client) -> None:
    breaker = opened()
    before = text(operator, "/endpoints")

    answer = operator.post(f"/endpoints/{breaker.id}/reset", {"back": "/endpoints"})

    assert "5 calls in a row failed" in before
    assert "0 %" in before
    assert answer["Location"] == "/endpoints"
    breaker.refresh_from_db()
    assert breaker.state == "closed"
    assert AuditEntry.objects.filter(action="breaker.reset", object_id=breaker.id).exists()
    assert f"/endpoints/{breaker.id}/reset" not in text(operator, "/endpoints")


def test_closed_endpoints_are_paged_behind_those_that_are_not_called(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_SIZE", 2)
    refusing, now = opened(), clock.now()
    for number in range(3):
        Breaker.objects.create(
            id=ids.new(now), key=f"http://no-{number}.test:80", seen_at=now, created_at=now
        )

    first = operator.get("/endpoints").context
    second = operator.get(f"/endpoints?{first['page'].next}").context

    shown = [[one["health"].key for one in page["endpoints"]] for page in (first, second)]
    assert shown[0][0] == refusing.key
    assert sorted(shown[0][1:] + shown[1]) == [f"http://no-{number}.test:80" for number in range(3)]
    assert second["page"].next == ""


def test_without_redis_the_page_says_so(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = opened()
    monkeypatch.setattr(redis_store, "client", nowhere)

    page = text(operator, "/endpoints")
    operator.post(f"/endpoints/{breaker.id}/reset")

    assert "Redis is away" in page
    assert breaker.key in page
    breaker.refresh_from_db()
    assert breaker.state == "open"


def nowhere() -> Any:
    """A Redis that is not there."""
    return redis.Redis(port=1, **QUICK_TO_GIVE_UP)


def test_a_picture_shows_the_least_beside_the_most() -> None:
    picture = sparkline.draw([0, 1, 0, 4000])

    assert [(bar.ago, bar.number, bar.x) for bar in picture.bars] == [(2, 1, 4), (0, 4000, 12)]
    assert [bar.height for bar in picture.bars] == [sparkline.LEAST_VISIBLE, sparkline.HEIGHT]
    assert sparkline.draw([0] * 24).bars == ()
