"""Alerts in the admin: rules and channels are made and tested there, and no URL is shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from errors_app.alerting import channels, kinds, raising
from errors_app.alerting.findings import Finding
from errors_app.models import AlertChannel, AlertDelivery, AlertRule
from errors_app.models_alerts import AlertKind
from executions_app.audit import SYSTEM
from tests.errors_app.receivers import Inbox, web_server
from tests.errors_app.watched import process, rule, schedule

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with web_server() as server:
        yield server


def page(model: str, what: str = "changelist", *which: object) -> str:
    return reverse(f"admin:{model}_{what}", args=which)


def test_a_rule_is_made_changed_and_removed(browser: Client) -> None:
    words = {"name": "slow", "kind": "queue_age", "severity": "high", "enabled": "on"}
    refused = browser.post(
        page("errors_app_alertrule", "add"), {**words, "parameters": '{"max_age_ms": 1}'}
    )
    assert "greater than or equal to 1000" in refused.content.decode()

    browser.post(page("errors_app_alertrule", "add"), {**words, "parameters": "{}"})
    made = AlertRule.objects.get(name="slow")
    assert made.parameters == {"max_age_ms": 120_000, "low_max_age_ms": 1_800_000}
    one = page("errors_app_alertrule", "change", made.id)
    browser.post(one, {**words, "severity": "low", "parameters": '{"max_age_ms": 5000}'})
    made.refresh_from_db()
    assert (made.severity, made.parameters["max_age_ms"]) == ("low", 5000)
    browser.post(page("errors_app_alertrule", "delete", made.id), {"post": "yes"})
    assert not AlertRule.objects.filter(id=made.id).exists()


def test_a_rule_is_widened_by_emptying_its_fields(browser: Client) -> None:
    channels.create({"name": "on call", "url": channels.LOG}, actor=SYSTEM)
    one = schedule()
    narrow = {
        "name": "failing",
        "kind": "failure_rate",
        "severity": "high",
        "enabled": "on",
        "parameters": '{"min_runs": 7}',
        "channels": '["on call"]',
        "schedule_id": str(one.id),
        "owner_id": str(one.owner_id),
    }
    browser.post(page("errors_app_alertrule", "add"), narrow)
    made = AlertRule.objects.get(name="failing")
    assert (made.schedule_id, made.owner_id) == (one.id, one.owner_id)
    assert (made.channels, made.parameters["min_runs"]) == (["on call"], 7)

    emptied = dict.fromkeys(("parameters", "channels", "schedule_id", "owner_id"), "")
    browser.post(page("errors_app_alertrule", "change", made.id), {**narrow, **emptied})

    made.refresh_from_db()
    assert (made.schedule_id, made.owner_id, made.channels) == (None, None, [])
    assert made.parameters == kinds.parameters(AlertKind.FAILURE_RATE, {}).model_dump(mode="json")


def test_a_channel_is_made_and_its_url_never_shown(browser: Client, inbox: Inbox) -> None:
    words = {"name": "web", "min_severity": "low", "enabled": "on"}
    browser.post(page("errors_app_alertchannel", "add"), {**words, "url": inbox.url})
    made = AlertChannel.objects.get(name="web")
    one = page("errors_app_alertchannel", "change", made.id)

    shown = browser.get(one).content.decode()
    browser.post(one, {**words, "min_severity": "high", "url": ""})
    made.refresh_from_db()

    assert "s3cr3t-word" not in shown
    assert channels.address(made) == inbox.url
    assert (made.kind, made.min_severity) == ("json", "high")


def test_a_test_is_sent_from_the_list(browser: Client, inbox: Inbox) -> None:
    made = channels.create({"name": "web", "url": inbox.url}, actor=SYSTEM)
    act = {"action": "send_test", "_selected_action": [str(made.id)]}

    well = browser.post(page("errors_app_alertchannel"), act, follow=True).content.decode()
    inbox.status = 500
    badly = browser.post(page("errors_app_alertchannel"), act, follow=True).content.decode()

    assert "1 tests sent" in well
    assert "was not sent" in badly
    assert sorted(AlertDelivery.objects.values_list("status", flat=True)) == ["failed", "sent"]


def test_every_table_has_its_list(browser: Client) -> None:
    process("worker", "io@one")
    raising.settle(rule("queue_age"), [Finding(key="high", message="slow")])

    for model in (
        "errors_app_alert",
        "errors_app_alertrule",
        "errors_app_alertchannel",
        "errors_app_alertdelivery",
        "errors_app_alertround",
        "executions_app_process",
    ):
        assert browser.get(page(model)).status_code == 200
