from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from errors_app import recovery
from errors_app.alerting import raising
from errors_app.alerting.findings import Finding
from executions_app import clock, lifecycle
from executions_app.models import SystemState
from executions_app.states import ExecutionStatus
from scheduler_app import overview
from tests.errors_app.watched import process, rule
from tests.factories import ExecutionFactory, ScheduleFactory, UserFactory

pytestmark = pytest.mark.django_db

STATEMENTS = 12


@pytest.fixture
def ada() -> User:
    return UserFactory.create(username="ada")


@pytest.fixture
def browser(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def fail_once(user: User, message: str) -> None:
    execution = ExecutionFactory.create(owner=user)
    (claimed,) = lifecycle.claim([execution.id], worker_id="worker-1")
    recovery.recover(claimed, ValueError(message), rng=random.Random(1))


def counts(user: User) -> dict[str, int]:
    return {one.status: one.number for one in overview.read(user, now=clock.now()).counts}


def signs(user: User, now: Any = None) -> dict[str, tuple[str, str]]:
    found = overview.read(user, now=now or clock.now()).signs
    return {one.label: (one.value, one.tone) for one in found}


def test_who_is_not_signed_in_is_asked_to() -> None:
    answer = Client().get("/")

    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/")


def test_a_fragment_for_nobody_sends_the_whole_page_to_sign_in() -> None:
    answer = Client().get("/", headers={"HX-Request": "true"})

    assert answer["HX-Redirect"] == "/admin/login/?next=/"


def test_htmx_gets_only_what_changes(browser: Client) -> None:
    whole, fragment = browser.get("/"), browser.get("/", headers={"HX-Request": "true"})

    assert b"<html" in whole.content
    assert b"<html" not in fragment.content
    assert b"Last executions" in fragment.content
    assert "HX-Request" in fragment["Vary"]


def test_the_page_answers_reading_requests_only(browser: Client) -> None:
    assert browser.post("/").status_code == 405


def test_states_are_counted_for_their_owner_and_for_a_superuser_all(ada: User) -> None:
    bob = UserFactory.create(username="bob")
    root = UserFactory.create(username="root", is_superuser=True)
    ExecutionFactory.create_batch(2, owner=ada)
    ExecutionFactory.create(owner=bob, status=ExecutionStatus.RUNNING)

    assert (counts(ada)["queued"], counts(ada)["running"]) == (2, 0)
    assert (counts(bob)["queued"], counts(bob)["running"]) == (0, 1)
    assert (counts(root)["queued"], counts(root)["running"]) == (2, 1)


def test_above_the_cap_a_count_says_that_there_are_more(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MOST_COUNTED", 2)
    ExecutionFactory.create_batch(3, owner=ada)

    shown = {one.status: one for one in overview.read(ada, now=clock.now()).counts}

    assert (shown["queued"].number, shown["queued"].is_capped) == (2, True)
    assert not shown["running"].is_capped


def test_the_number_of_statements_does_not_grow_with_the_rows(
    browser: Client, ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    session_and_user = 2
    its_role = 1  # for the menu
    fail_once(ada, "a problem")
    ScheduleFactory.create(owner=ada)
    with django_assert_num_queries(STATEMENTS + session_and_user + its_role):
        browser.get("/")

    ScheduleFactory.create_batch(5, owner=ada)
    for number in range(5):
        fail_once(ada, f"problem {number}")

    with django_assert_num_queries(STATEMENTS + session_and_user + its_role):
        browser.get("/")


def test_next_fires_stand_in_their_order_without_those_that_are_switched_off(ada: User) -> None:
    ScheduleFactory.create(owner=ada, name="later", schedule_config={"interval_ms": 120_000})
    ScheduleFactory.create(owner=ada, name="sooner", schedule_config={"interval_ms": 30_000})
    ScheduleFactory.create(owner=ada, name="never", enabled=False)

    fires = overview.read(ada, now=clock.now()).fires

    assert [fire.schedule.name for fire in fires] == ["sooner", "later"]


@pytest.mark.django_db(transaction=True)
def test_failures_are_grouped_by_class_with_their_latest_message(ada: User) -> None:
    fail_once(ada, "first")
    fail_once(ada, "second\nand its details")

    (group,) = overview.read(ada, now=clock.now()).failures

    assert (group.number, group.message) == (2, "second")


def test_a_failed_execution_shows_the_first_line_of_its_error(ada: User) -> None:
    fail_once(ada, "the disk is full\nTraceback")

    (row,) = overview.read(ada, now=clock.now()).rows

    assert row.headline == "the disk is full"


def test_a_beat_that_stopped_is_seen_on_the_health_strip(ada: User) -> None:
    now = clock.now()
    seen = []
    for age in (1, 10, 60):
        SystemState.objects.update(scheduler_last_tick_at=now - timedelta(seconds=age))
        seen.append(signs(ada, now)["Last tick"])

    assert seen == [("1 s ago", "ok"), ("10 s ago", "warn"), ("1 min ago", "bad")]


def test_workers_are_those_that_say_that_they_live(ada: User) -> None:
    assert signs(ada)["Workers"] == ("none", "bad")
    process("worker", "io@one")
    process("worker", "io@two", silent=60)
    process("worker", "low@one", stopped_at=clock.now())
    process("beat", "beat@one")

    assert signs(ada)["Workers"] == ("1 alive", "ok")
    assert signs(ada, clock.now() + timedelta(minutes=5))["Workers"] == ("none", "bad")


@pytest.mark.parametrize(("severity", "tone"), [("medium", "warn"), ("critical", "bad")])
def test_what_is_firing_is_seen_on_the_health_strip(ada: User, severity: str, tone: str) -> None:
    assert signs(ada)["Alerts"] == ("none", "ok")
    watched = rule("queue_age", severity=severity)

    raising.settle(watched, [Finding(key="high", message="slow")])

    assert signs(ada)["Alerts"] == ("1 firing", tone)


def test_names_and_messages_are_shown_as_text(browser: Client, ada: User) -> None:
    ExecutionFactory.create(owner=ada, name="<script>alert(1)</script>")
    fail_once(ada, "<img src=x onerror=alert(1)>")

    page = browser.get("/").content.decode()

    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
