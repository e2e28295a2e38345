from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from errors_app import recovery
from executions_app import clock, lifecycle
from executions_app.models import Execution, SystemState
from executions_app.states import ExecutionStatus
from tests import verbs
from tests.browser.conftest import Web
from tests.factories import ExecutionFactory, ScheduleFactory, UserFactory

pytestmark = pytest.mark.browser
Visit = Callable[..., BrowserContext]


@pytest.fixture
def ada(transactional_db: None) -> User:
    SystemState.objects.update(status="running", scheduler_last_tick_at=clock.now())
    return UserFactory.create(username="ada")


def open_overview(context: BrowserContext) -> Page:
    """The page, once it hears of changes."""
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#connection")).to_have_text("live")
    return page


def end_well(execution: Execution) -> None:
    (claimed,) = lifecycle.claim([execution.id], worker_id="worker-1")
    verbs.complete(claimed, output="done")


def test_an_execution_appears_and_ends_without_a_reload(visit: Visit, ada: User) -> None:
    page = open_overview(visit(ada))

    execution = ExecutionFactory.create(owner=ada, name="warm the caches")

    row = page.locator(f"[data-execution='{execution.number}']")
    expect(row).to_contain_text("queued")
    expect(row).to_contain_text("warm the caches")
    end_well(execution)
    expect(row).to_contain_text("completed")
    expect(page.locator("[data-count=completed] strong")).to_have_text("1")


def test_a_failure_shows_its_message_and_its_class(visit: Visit, ada: User) -> None:
    page = open_overview(visit(ada))
    execution = ExecutionFactory.create(owner=ada)

    (claimed,) = lifecycle.claim([execution.id], worker_id="worker-1")
    recovery.recover(claimed, ValueError("the disk is full"), rng=random.Random(1))

    row = page.locator(f"[data-execution='{execution.number}']")
    expect(row).to_contain_text("the disk is full")
    expect(page.locator(".failures")).to_contain_text("the disk is full")


def test_everybody_sees_their_own(visit: Visit, ada: User) -> None:
    ExecutionFactory.create(owner=ada, name="of ada")
    ExecutionFactory.create(owner=UserFactory.create(username="bob"), name="of bob")

    page = open_overview(visit(ada))

    expect(page.locator(".executions")).to_contain_text("of ada")
    expect(page.locator(".executions")).not_to_contain_text("of bob")


def test_an_empty_installation_says_the_next_step(visit: Visit, ada: User) -> None:
    page = open_overview(visit(ada))

    expect(page.locator(".empty")).to_contain_text("manage.py schedule create")


def test_without_javascript_the_page_says_the_same_and_reloads_itself(
    visit: Visit, ada: User
) -> None:
    ScheduleFactory.create(owner=ada, name="nightly report")
    page = visit(ada, java_script_enabled=False).new_page()

    page.goto("/")

    expect(page.locator(".fires")).to_contain_text("nightly report")
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "15"


def test_a_server_that_falls_silent_is_told_and_found_again(
    visit: Visit, web: Web, ada: User
) -> None:
    page = open_overview(visit(ada))

    web.stop()

    expect(page.locator("#connection")).to_have_text("reconnecting")
    expect(page.locator("#stale")).to_be_visible(timeout=25_000)
    web.start()
    ExecutionFactory.create(owner=ada, name="after the storm")
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator(".executions")).to_contain_text("after the storm")
    expect(page.locator("#stale")).to_be_hidden()


def test_who_signs_out_elsewhere_is_led_to_the_sign_in_page(visit: Visit, ada: User) -> None:
    context = visit(ada)
    page = open_overview(context)

    context.clear_cookies()
    ExecutionFactory.create(owner=ada)

    page.wait_for_url("**/admin/login/**")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_width_and_breaks_no_rule_of_its_own_policy(
    visit: Visit, ada: User, width: int, scheme: str
) -> None:
    said: list[str] = []
    ScheduleFactory.create(owner=ada, name="a-name-without-any-place-to-break-" * 5)
    ExecutionFactory.create(owner=ada, status=ExecutionStatus.RUNNING, name="x" * 150)
    context = visit(ada, viewport={"width": width, "height": 800}, color_scheme=scheme)

    def note(message: ConsoleMessage) -> None:
        said.append(message.text)

    page = context.new_page()
    page.on("console", note)
    page.goto("/")
    expect(page.locator("#connection")).to_have_text("live")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []


def test_the_keyboard_reaches_content_and_sign_out(visit: Visit, ada: User) -> None:
    page = open_overview(visit(ada))

    page.keyboard.press("Tab")

    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()


def test_countdowns_count(visit: Visit, ada: User) -> None:
    schedule = ScheduleFactory.create(owner=ada)
    assert schedule.next_run_at is not None
    page = open_overview(visit(ada))
    countdown = page.locator(".fires time").first
    before = countdown.inner_text()

    expect(countdown).not_to_have_text(before)

    assert before.startswith("in ")
    assert schedule.next_run_at - clock.now() < timedelta(minutes=1)
