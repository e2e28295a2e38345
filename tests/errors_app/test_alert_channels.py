"""Notices arrive at a real mail server and a real web server, or say why they did not (OBS-15)."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings

from errors_app.alerting import apprise_door, channels, notices, raising, sending, testing
from errors_app.alerting.definitions import Invalid
from errors_app.alerting.findings import Finding
from errors_app.alerting.sending import Sender
from errors_app.models import Alert, AlertChannel, AlertDelivery, AlertRule
from executions_app import clock, encryption
from executions_app.audit import SYSTEM
from executions_app.models import AuditEntry
from tests.errors_app.receivers import Inbox, Mailbox, mail_server, web_server
from tests.errors_app.watched import rule

RNG = random.Random(7)
FOUND = Finding(key="a", message="Queue 'high': the oldest stands there for 3 min")
SECRETS = ("s3cr3t-word", "t0k3n-path")
pytestmark = pytest.mark.django_db


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with web_server() as server:
        yield server


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as server:
        yield server


@pytest.fixture
def watched() -> AlertRule:
    AlertRule.objects.all().delete()
    AlertChannel.objects.all().delete()
    return rule("queue_age", name="The queue is slow", severity="high")


def channel(url: str, *, name: str = "web", **words: Any) -> AlertChannel:
    return channels.create({"name": name, "url": url, **words}, actor=SYSTEM)


def settle(at: AlertRule, *findings: Finding, times: int = 1) -> None:
    for _ in range(times):
        raising.settle(at, findings)


def send() -> None:
    """What one sender does with all that is due, in this thread."""
    for letter in sending.written(notices.claim()):
        sending.record(sending.Result(letter, sending.carry(letter)), rng=RNG)


def later() -> None:
    """The time until the next attempt has passed."""
    AlertDelivery.objects.filter(status="pending").update(
        next_at=clock.now() - timedelta(seconds=1)
    )


def statuses() -> list[tuple[str, str]]:
    return list(AlertDelivery.objects.order_by("id").values_list("event", "status"))


def until(look: Callable[[], object]) -> None:
    ends = time.monotonic() + 20
    while not look():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.01)


def test_a_web_hook_gets_the_notice_and_the_recovery(watched: AlertRule, inbox: Inbox) -> None:
    channel(inbox.url)
    settle(watched, FOUND)
    send()
    settle(watched, times=2)
    send()

    assert inbox.titles == ["Cadenza: high: The queue is slow", "Cadenza: over: The queue is slow"]
    assert [one["type"] for one in inbox.notices] == ["failure", "success"]
    assert "the oldest stands there for 3 min" in inbox.notices[0]["message"]
    assert statuses() == [("fired", "sent"), ("resolved", "sent")]
    assert AlertDelivery.objects.exclude(sent_at=None).count() == 2


def test_a_mail_server_gets_the_notice(watched: AlertRule, mailbox: Mailbox) -> None:
    channel(f"mailto://127.0.0.1:{mailbox.port}?from=cadenza@example.org&to=oncall@example.org")
    settle(watched, FOUND)
    send()

    (mail,) = mailbox.mails
    assert "To: oncall@example.org" in mail
    assert "Subject: Cadenza: high: The queue is slow" in mail
    assert statuses() == [("fired", "sent")]


def test_the_log_is_a_channel(watched: AlertRule, caplog: pytest.LogCaptureFixture) -> None:
    channel("log", name="log")
    settle(watched, FOUND)

    with caplog.at_level(logging.WARNING, logger="cadenza.alerts"):
        send()

    assert "Cadenza: high: The queue is slow" in caplog.text
    assert statuses() == [("fired", "sent")]


def test_a_channel_that_refuses_is_tried_again_and_then_given_up(
    watched: AlertRule, inbox: Inbox
) -> None:
    channel(inbox.url)
    inbox.status = 503
    settle(watched, FOUND)

    send()
    (first,) = AlertDelivery.objects.all()
    assert (first.status, first.attempts, first.sent_at) == ("pending", 1, None)
    assert first.next_at > clock.now()
    assert "503" in first.error
    for _ in range(notices.MOST_ATTEMPTS):
        later()
        send()

    (last,) = AlertDelivery.objects.all()
    assert (last.status, last.attempts) == ("failed", notices.MOST_ATTEMPTS)
    assert inbox.notices == []


def test_a_channel_that_is_back_gets_what_it_missed_in_order(
    watched: AlertRule, inbox: Inbox
) -> None:
    channel(inbox.url)
    inbox.status = 500
    settle(watched, FOUND)
    send()
    settle(watched, times=2)
    send()
    inbox.status = 200

    for _ in range(2):
        later()
        send()

    assert [one["type"] for one in inbox.notices] == ["failure", "success"]


def test_what_a_process_died_with_is_sent_by_another(watched: AlertRule, inbox: Inbox) -> None:
    channel(inbox.url)
    settle(watched, FOUND)
    lost = notices.claim()  # and no word any more
    assert notices.claim() == []

    later()  # its claim has lapsed
    send()
    sending.record(
        sending.Result(sending.written(lost)[0], apprise_door.Refused("too late")), rng=RNG
    )

    assert len(inbox.notices) == 1
    assert statuses() == [("fired", "sent")]


def test_what_every_sender_dies_of_is_given_up(watched: AlertRule, inbox: Inbox) -> None:
    channel(inbox.url)
    settle(watched, FOUND)
    for _ in range(notices.MOST_ATTEMPTS):
        assert len(notices.claim()) == 1
        later()

    assert notices.claim() == []
    (delivery,) = AlertDelivery.objects.all()
    assert (delivery.status, delivery.attempts) == ("failed", notices.MOST_ATTEMPTS)
    assert "lost" in delivery.error


def test_a_notice_is_claimed_by_one_of_two(watched: AlertRule, inbox: Inbox) -> None:
    channel(inbox.url)
    settle(watched, FOUND)

    assert (len(notices.claim()), len(notices.claim())) == (1, 0)


def test_the_many_of_one_channel_hold_up_no_other(watched: AlertRule, inbox: Inbox) -> None:
    channel(inbox.url, name="many")
    settle(watched, *(Finding(key=f"{n}", message="x") for n in range(30)))
    channel(inbox.url, name="few")
    settle(watched, FOUND)

    claimed = notices.claim()

    names = [one.channel_name for one in claimed]
    assert (names.count("many"), names.count("few")) == (notices.MOST_AT_ONCE, 1)


def test_no_more_channels_are_begun_than_there_are_threads(
    watched: AlertRule, inbox: Inbox
) -> None:
    for number in range(4):
        channel(inbox.url, name=f"no. {number}")
    settle(watched, FOUND)

    first = notices.claim(channels=3)
    second = notices.claim(channels=3)

    assert [len({one.channel_id for one in some}) for some in (first, second)] == [3, 1]


@pytest.mark.django_db(transaction=True)
def test_what_a_slow_channel_left_no_time_for_loses_no_attempt(
    watched: AlertRule, inbox: Inbox
) -> None:
    done = threading.Event()
    sender = Sender(on_done=done.set, enough_seconds=0)
    channel(inbox.url)
    settle(watched, FOUND, Finding(key="b", message="so is this"))

    sender.send_due()
    until(done.is_set)
    sender.write_down()

    left = AlertDelivery.objects.get(status="pending")
    assert (left.attempts, left.claim) == (0, None)
    assert left.next_at <= clock.now()
    assert len(inbox.notices) == 1


def test_what_a_removed_channel_was_still_to_be_told_fails(
    watched: AlertRule, inbox: Inbox
) -> None:
    made = channel(inbox.url)
    settle(watched, FOUND)
    channels.remove(made.id, actor=SYSTEM)

    assert notices.claim() == []
    (delivery,) = AlertDelivery.objects.all()
    assert (delivery.status, delivery.sent_at) == ("failed", None)
    assert "removed" in delivery.error


def test_a_channel_that_a_rule_names_stays_and_keeps_its_name(inbox: Inbox) -> None:
    made = channel(inbox.url)
    rule("queue_age", channels=["web"])

    for refused in (
        lambda: channels.remove(made.id, actor=SYSTEM),
        lambda: channels.change(made.id, {"name": "other"}, actor=SYSTEM),
    ):
        with pytest.raises(Invalid, match="names this channel"):
            refused()


def test_a_test_says_whether_it_arrived(inbox: Inbox) -> None:
    made = channel(inbox.url)

    well = testing.send_test(made, actor=SYSTEM)
    inbox.status = 404
    badly = testing.send_test(made, actor=SYSTEM)

    assert (well.status, well.event, well.error) == ("sent", "test", "")
    assert inbox.titles == ["Cadenza: test"]
    assert (badly.status, badly.attempts) == ("failed", 1)
    assert "404" in badly.error
    assert AuditEntry.objects.filter(action="alert_channel.tested").count() == 2


def test_a_host_where_nobody_listens_is_a_failure_with_a_reason() -> None:
    made = channel("json://user:s3cr3t-word@127.0.0.1:1/t0k3n-path")

    delivery = testing.send_test(made, actor=SYSTEM)

    assert delivery.status == "failed"
    assert delivery.error
    assert not any(secret in delivery.error for secret in SECRETS)


def test_no_secret_of_a_url_is_stored_or_told(
    inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        made = channel(inbox.url)
        for status in (200, 500):
            inbox.status = status
            testing.send_test(made, actor=SYSTEM)

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT string_agg(c::text, ' ') FROM alert_channels c)"
            " || (SELECT string_agg(d::text, ' ') FROM alert_deliveries d)"
            " || (SELECT string_agg(a::text, ' ') FROM audit_log a)"
        )
        stored = cursor.fetchone()[0]
    own = "\n".join(
        one.getMessage() for one in caplog.records if not one.name.startswith("urllib3")
    )
    assert made.kind == "json"
    assert not any(secret in text for secret in SECRETS for text in (stored, own))
    assert channels.address(made) == inbox.url


def test_the_parts_of_a_url_are_struck_out_of_a_reason() -> None:
    url = "slack://T1234/B5678/abc%20def/#channel?token=topsecret"

    told = apprise_door.without_secrets(
        "POST /T1234/B5678/abc def failed with token=topsecret", url
    )

    assert not any(part in told for part in ("T1234", "B5678", "abc", "topsecret"))
    assert "failed" in told


@pytest.mark.parametrize("url", ["nonsense://somewhere", "not a url", "json://", "LOG"])
def test_a_url_that_leads_nowhere_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        channel(url)

    assert [one.path for one in refused.value.problems] == [("url",)]


def test_a_channel_is_changed_without_its_url_and_renewed_with_other_keys(inbox: Inbox) -> None:
    made = channel(inbox.url)
    changed = channels.change(made.id, {"min_severity": "high"}, actor=SYSTEM)
    assert channels.address(changed) == inbox.url

    fresh = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY="
    keys = [fresh, *settings.FIELD_ENCRYPTION_KEYS]
    with override_settings(FIELD_ENCRYPTION_KEYS=keys):
        assert channels.renew_all() == AlertChannel.objects.exclude(kind="log").count()
    changed.refresh_from_db()
    with override_settings(FIELD_ENCRYPTION_KEYS=[fresh]):
        assert channels.address(changed) == inbox.url
    with pytest.raises(encryption.Undecryptable):
        channels.address(changed)


def test_a_url_that_no_key_opens_fails_with_the_reason(inbox: Inbox) -> None:
    made = channel(inbox.url)
    AlertChannel.objects.filter(id=made.id).update(ciphertext="gAAAAA")
    made.refresh_from_db()

    delivery = testing.send_test(made, actor=SYSTEM)

    assert delivery.status == "failed"
    assert "FIELD_ENCRYPTION_KEYS" in delivery.error


@pytest.mark.django_db(transaction=True)
def test_a_channel_that_hangs_holds_up_no_other(watched: AlertRule, inbox: Inbox) -> None:
    done = threading.Event()
    sender = Sender(on_done=done.set)
    with web_server() as slow:
        slow.gate.clear()
        channel(slow.url, name="slow")
        channel(inbox.url, name="quick")
        settle(watched, FOUND)

        sender.send_due()
        until(lambda: done.is_set() and sender.write_down())
        settle(watched, times=2)
        done.clear()
        sender.send_due()
        until(lambda: done.is_set() and sender.write_down())

        assert [one["type"] for one in inbox.notices] == ["failure", "success"]
        assert slow.notices == []
        done.clear()
        slow.gate.set()
        until(lambda: done.is_set() and sender.write_down())
    assert Alert.objects.get().status == "resolved"
    sent = AlertDelivery.objects.filter(channel_name="slow", event="fired")
    assert sent.get().status == "sent"
