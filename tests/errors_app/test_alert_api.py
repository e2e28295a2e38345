"""Alerts, rules and channels over HTTP and at a terminal: who sees and who changes what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from errors_app.alerting import channels, raising
from errors_app.alerting.findings import Finding
from errors_app.models import Alert, AlertChannel, AlertDelivery, AlertRule
from executions_app import clock
from executions_app.audit import SYSTEM
from tests.errors_app.receivers import Inbox, web_server
from tests.errors_app.watched import rule
from tests.factories import UserFactory
from tests.rest import ids_of, signed_in
from tests.terminal import run

pytestmark = pytest.mark.django_db
ALERTS, RULES, CHANNELS = "/api/alerts", "/api/alerts/rules", "/api/alerts/channels"


@pytest.fixture
def person() -> User:
    found: User = UserFactory.create()
    return found


@pytest.fixture
def caller(person: User) -> APIClient:
    return signed_in(person)


@pytest.fixture
def operator() -> APIClient:
    user: User = UserFactory.create()
    user.groups.add(Group.objects.create(name="operator"))
    return signed_in(user)


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with web_server() as server:
        yield server


@pytest.fixture
def alert(person: User) -> Alert:
    """One about what belongs to `person`; and another about nobody's."""
    AlertRule.objects.all().delete()
    watched = rule("queue_age", severity="high")
    findings = [
        Finding(key="a", message="slow", owner_id=person.pk),
        Finding(key="b", message="slow"),
    ]
    raising.settle(watched, findings)
    return Alert.objects.get(key="a")


def test_owners_see_alerts_about_theirs_and_operators_all(
    caller: APIClient, operator: APIClient, alert: Alert
) -> None:
    assert ids_of(caller.get(ALERTS).json()) == [str(alert.id)]
    assert len(operator.get(f"{ALERTS}?status=firing").json()["results"]) == 2
    assert operator.get(f"{ALERTS}?status=resolved").json()["results"] == []
    other = Alert.objects.get(key="b")
    assert caller.get(f"{ALERTS}/{other.id}").status_code == 404


def test_an_alert_is_shown_with_the_notices_about_it(caller: APIClient, alert: Alert) -> None:
    shown = caller.get(f"{ALERTS}/{alert.id}").json()

    assert (shown["status"], shown["severity"], shown["message"]) == ("firing", "high", "slow")
    assert [one["event"] for one in shown["deliveries"]] == ["fired"]


def test_an_owner_mutes_their_alert_and_no_other(caller: APIClient, alert: Alert) -> None:
    until = (clock.now() + timedelta(hours=1)).isoformat()
    other = Alert.objects.get(key="b")

    muted = caller.post(f"{ALERTS}/{alert.id}/mute", {"until": until})

    assert muted.status_code == 200
    assert muted.json()["muted_until"] is not None
    assert caller.post(f"{ALERTS}/{other.id}/mute", {"until": until}).status_code == 404
    assert caller.post(f"{ALERTS}/{alert.id}/mute", {}).status_code == 400


def test_an_operator_makes_changes_mutes_and_removes_a_rule(operator: APIClient) -> None:
    words = {"name": "slow", "kind": "queue_age", "parameters": {"maxAgeMs": 5000}}
    refused = operator.post(RULES, words)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["pointer"] == "/parameters/maxAgeMs"

    words["parameters"] = {"max_age_ms": 5000}
    made = operator.post(RULES, words)
    assert made.status_code == 201
    where = made["Location"]
    assert made.json()["parameters"] == {"max_age_ms": 5000, "low_max_age_ms": 1_800_000}
    assert operator.patch(where, {"severity": "low"}).json()["severity"] == "low"
    muted = operator.post(f"{where}/mute", {"until": "2030-01-01T00:00:00Z"}).json()
    assert muted["muted_until"] == "2030-01-01T00:00:00Z"
    assert operator.post(f"{where}/mute", {"until": None}).json()["muted_until"] is None
    assert operator.delete(where).status_code == 204
    assert operator.get(where).status_code == 404


def test_others_read_the_rules_about_all_and_theirs_and_change_none(
    caller: APIClient, person: User
) -> None:
    AlertRule.objects.all().delete()
    general, own = rule("queue_age"), rule("dead_letters", owner_id=person.pk)
    stranger: User = UserFactory.create()
    rule("missed", owner_id=stranger.pk)

    assert ids_of(caller.get(RULES).json()) == [str(own.id), str(general.id)]
    for answer in (
        caller.post(RULES, {"name": "x", "kind": "missed"}),
        caller.patch(f"{RULES}/{own.id}", {"enabled": False}),
        caller.delete(f"{RULES}/{own.id}"),
        caller.post(f"{RULES}/{own.id}/mute", {"until": None}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_needed")


def test_a_channel_never_shows_its_url(operator: APIClient, inbox: Inbox) -> None:
    made = operator.post(CHANNELS, {"name": "web", "url": inbox.url, "min_severity": "high"})
    where = made["Location"]

    answers = [
        made,
        operator.get(where),
        operator.get(CHANNELS),
        operator.patch(where, {"enabled": False}),
        operator.patch(where, {"url": "nonsense://s3cr3t-word"}),
        operator.post(CHANNELS, {"name": "x", "url": "nonsense://s3cr3t-word@h"}),
    ]

    assert [one.status_code for one in answers] == [201, 200, 200, 200, 400, 400]
    assert made.json()["kind"] == "json"
    for one in answers:
        assert "s3cr3t-word" not in one.content.decode()
        assert "t0k3n-path" not in one.content.decode()


def test_a_test_of_a_channel_answers_what_became_of_it(operator: APIClient, inbox: Inbox) -> None:
    where = operator.post(CHANNELS, {"name": "web", "url": inbox.url})["Location"]

    well = operator.post(f"{where}/test")
    inbox.status = 500
    badly = operator.post(f"{where}/test")

    assert (well.status_code, well.json()["status"]) == (200, "sent")
    assert (badly.status_code, badly.json()["status"]) == (200, "failed")
    assert "500" in badly.json()["error"]
    listed = operator.get("/api/alerts/deliveries?status=failed").json()
    assert ids_of(listed) == [badly.json()["id"]]


def test_channels_and_notices_are_the_operators(caller: APIClient) -> None:
    log = AlertChannel.objects.get(name="log")
    for answer in (
        caller.get(CHANNELS),
        caller.post(CHANNELS, {"name": "x", "url": "log"}),
        caller.get(f"{CHANNELS}/{log.id}"),
        caller.patch(f"{CHANNELS}/{log.id}", {"enabled": False}),
        caller.delete(f"{CHANNELS}/{log.id}"),
        caller.post(f"{CHANNELS}/{log.id}/test"),
        caller.get("/api/alerts/deliveries"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_needed")


def test_a_terminal_shows_what_is_firing_and_mutes_it(root: User, alert: Alert) -> None:
    listed = run("alerts", "list", "--json")
    muted = run("alerts", "mute", str(alert.id), "--minutes", "30", "--json")
    of_rule = run("alerts", "mute", alert.rule_name, "--until", "2030-01-01T00:00:00Z", "--json")

    assert {one["key"] for one in listed.document} == {"a", "b"}
    assert muted.document["muted_until"] is not None
    assert of_rule.document["muted_until"] == "2030-01-01T00:00:00Z"
    assert run("alerts", "mute", alert.rule_name, "--off", "--json").document["muted_until"] is None
    assert run("alerts", "mute", "nothing", "--off").exit_code == 4
    assert "slow" in run("alerts", "list").stdout
    assert "queue_age" in run("alerts", "rules").stdout


def test_a_terminal_makes_and_tests_a_channel(root: User, inbox: Inbox) -> None:
    made = run("alerts", "add-channel", "web", inbox.url, "--min-severity", "high", "--json")
    sent = run("alerts", "test", "web", "--json")
    inbox.status = 500
    failed = run("alerts", "test", "web")

    assert made.document["kind"] == "json"
    assert (sent.exit_code, sent.document["status"]) == (0, "sent")
    assert failed.exit_code == 1
    assert "was not sent" in failed.stdout
    assert run("alerts", "add-channel", "x", "nonsense://h").exit_code == 2
    assert run("alerts", "test", "nobody").exit_code == 4
    assert "s3cr3t-word" not in run("alerts", "channels", "--json").stdout


def test_keys_are_rotated_over_channels_too(root: User, inbox: Inbox) -> None:
    channels.create({"name": "web", "url": inbox.url}, actor=SYSTEM)
    before = AlertChannel.objects.get(name="web").ciphertext

    ended = run("rotate_keys", "--json")

    after = AlertChannel.objects.get(name="web")
    assert ended.document == {"renewed": 1}
    assert after.ciphertext != before
    assert channels.address(after) == inbox.url
    assert AlertDelivery.objects.count() == 0
