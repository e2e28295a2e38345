"""Notices arrive at Slack, or say why they did not (OBS-15).

Real are Apprise, its address of Slack, the TLS to that name and what is sent; Slack itself is a
server of this test behind a proxy. That Slack would take the message is what its manual says.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from errors_app.alerting import channels, notices, raising, sending, testing
from errors_app.alerting.findings import Finding
from errors_app.models import AlertChannel, AlertDelivery, AlertRule
from executions_app.audit import SYSTEM
from tests.errors_app.slack import HOST, Slack, slack
from tests.errors_app.watched import rule

TOKENS: Final = ("T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7TQ")
URL: Final = f"slack://{'/'.join(TOKENS)}/#oncall"
FOUND: Final = Finding(key="a", message="Queue 'high': the oldest stands there for 3 min")
pytestmark = pytest.mark.django_db


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slack]:
    with slack(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def channel() -> AlertChannel:
    AlertChannel.objects.all().delete()
    return channels.create({"name": "on call", "url": URL}, actor=SYSTEM)


def test_slack_gets_the_notice_and_the_recovery(here: Slack, channel: AlertChannel) -> None:
    AlertRule.objects.all().delete()
    watched = rule("queue_age", name="The queue is slow", severity="high")
    for findings in ([FOUND], [], []):
        raising.settle(watched, findings)
        for letter in sending.written(notices.claim()):
            sending.record(sending.Result(letter, sending.carry(letter)), rng=random.Random(7))

    assert set(here.asked_for) == {f"{HOST}:443"}
    assert [path for path, _ in here.messages] == [f"/services/{'/'.join(TOKENS)}"] * 2
    fired, resolved = (json.dumps(message) for _, message in here.messages)
    assert "Cadenza: high: The queue is slow" in fired
    assert "the oldest stands there for 3 min" in fired
    assert "Cadenza: over: The queue is slow" in resolved
    assert here.messages[0][1]["channel"] == "#oncall"
    told = AlertDelivery.objects.order_by("id").values_list("event", "status")
    assert list(told) == [("fired", "sent"), ("resolved", "sent")]


def test_what_slack_refuses_is_not_sent_and_says_no_token(
    here: Slack, channel: AlertChannel
) -> None:
    here.status = 404

    delivery = testing.send_test(channel, actor=SYSTEM)

    assert (delivery.status, delivery.sent_at) == ("failed", None)
    assert "404" in delivery.error
    assert not any(token in delivery.error for token in TOKENS)


def test_who_only_says_to_be_slack_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channel: AlertChannel
) -> None:
    with slack(tmp_path, host="hooks.example.org") as stranger:
        for name, value in stranger.environment.items():
            monkeypatch.setenv(name, value)

        delivery = testing.send_test(channel, actor=SYSTEM)

    assert (delivery.status, stranger.messages) == ("failed", [])
    assert stranger.asked_for == [f"{HOST}:443"]
