"""Pages of what goes wrong, before a real Chromium: incidents and endpoints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from errors_app.breakers import recorder
from errors_app.breakers import store as redis_store
from errors_app.breakers.store import Store
from errors_app.incidents import folding
from errors_app.models import Breaker, Incident
from executions_app import clock
from executions_app.models import SystemState
from tests.errors_app.breaking import (
    SLOW,
    Listening,
    a_process,
    endpoint,
    redis_is_waited_for,  # noqa: F401  a fixture
    succeed,
    until,
)
from tests.errors_app.breaking import fail as fail_calls
from tests.errors_app.failures import fail
from tests.factories import ExecutionFactory, ScheduleFactory, UserFactory

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("redis_is_waited_for")]
Visit = Callable[..., BrowserContext]


@pytest.fixture
def root(transactional_db: None) -> User:
    SystemState.objects.update(status="running", scheduler_last_tick_at=clock.now())
    return UserFactory.create(username="root", is_superuser=True, is_staff=True)


@pytest.fixture
def incident(root: User) -> Incident:
    """One with errors of several hours."""
    schedule = ScheduleFactory.create(owner=root, name="nightly report")
    execution = ExecutionFactory.create(owner=root, name="nightly report")
    for hours in (0, 0, 0, 1, 1, 2, 9, 20):
        fail(
            f"the endpoint answered 503 after {hours} s",
            schedule_id=schedule.id,
            owner_id=root.pk,
            at=clock.now() - timedelta(hours=hours),
            execution_id=execution.id,
            attempt=1,
        )
    folding.fold()
    return Incident.objects.get()


@pytest.fixture
def endpoints(root: User) -> list[str]:
    """An endpoint that is not called, and one that is well."""
    listening, keys = Listening(), [endpoint(), endpoint()]
    breakers = a_process(SLOW, listening)
    fail_calls(breakers, keys[0], times=5)
    for change in listening.changes:
        recorder.record(change, worker="worker-1")
    succeed(breakers, keys[1], times=4)
    store = Store(redis_store.client(), SLOW)
    until(lambda: store.look([keys[1]])[keys[1]].calls == 4, what="its calls are counted")
    recorder.see([store.look([keys[1]])[keys[1]]], worker="worker-1")
    return keys


def test_an_incident_is_decided_from_the_list_and_from_its_page(
    visit: Visit, root: User, incident: Incident
) -> None:
    page = visit(root).new_page()
    page.goto("/incidents")
    row = page.locator(f"[data-incident='{incident.id}']")
    expect(row).to_contain_text("the endpoint answered")
    expect(row.locator(".sparkline rect")).not_to_have_count(0)

    row.get_by_role("button", name="Acknowledge").click()

    expect(page.locator(".banner.success")).to_contain_text("acknowledged")
    expect(page.locator("body")).to_contain_text("No incident is open")
    page.goto(f"/incidents/{incident.id}")
    page.get_by_label("Note").fill("the disk is larger now")
    page.get_by_role("button", name="Resolve").click()
    expect(page.locator(".facts")).to_contain_text("the disk is larger now")
    page.get_by_role("button", name="Reopen").click()
    expect(page.locator(".banner.success")).to_contain_text("open again")
    incident.refresh_from_db()
    assert (incident.status, incident.handled_by_id) == ("open", root.pk)


def test_an_incident_appears_without_a_reload(visit: Visit, root: User) -> None:
    page: Page = visit(root).new_page()
    page.goto("/incidents")
    expect(page.locator("#connection")).to_have_text("live")

    fail("the disk is full", owner_id=root.pk)
    folding.fold()

    expect(page.locator("[data-incident]")).to_contain_text("the disk is full")


def test_an_endpoint_is_reset_without_a_script(
    visit: Visit, root: User, endpoints: list[str]
) -> None:
    page = visit(root, java_script_enabled=False).new_page()
    page.goto("/endpoints")
    row = page.locator(f"[data-endpoint='{endpoints[0]}']")
    expect(row).to_contain_text("5 calls in a row failed")

    row.get_by_role("button", name="Reset").click()

    expect(page.locator(".banner.success")).to_contain_text("calls go out")
    expect(row).to_contain_text("closed")
    assert Breaker.objects.get(key=endpoints[0]).state == "closed"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_their_width_and_break_no_rule_of_their_own_policy(
    visit: Visit, root: User, incident: Incident, endpoints: list[str], width: int, scheme: str
) -> None:
    said: list[str] = []
    fail("a-word-without-any-place-to-break-" * 9, owner_id=root.pk)
    folding.fold()
    context = visit(root, viewport={"width": width, "height": 800}, color_scheme=scheme)

    def note(message: ConsoleMessage) -> None:
        said.append(message.text)

    for path in ("/incidents", f"/incidents/{incident.id}", "/endpoints"):
        page = context.new_page()
        page.on("console", note)
        page.goto(path)
        expect(page.locator("#connection")).to_have_text("live")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
