"""The only worker is killed: a notice arrives where people are, and another when one is back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from pytest_django import DjangoDbBlocker

from errors_app.alerting import channels
from errors_app.models import Alert, AlertDelivery, AlertRule
from executions_app.audit import SYSTEM
from executions_app.models import Process
from tests.errors_app.receivers import Inbox, web_server
from tests.journeys import scenario
from tests.processes import System

pytestmark = pytest.mark.journey

GONE = "Cadenza: critical: A process is gone"
BACK = "Cadenza: over: A process is gone"


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """One that looks around itself twice a second, as no other does."""
    folder = tmp_path_factory.mktemp("alerts")
    quick = {"PRESENCE_SECONDS": "0.5", "ALERT_SECONDS": "0.5"}
    with django_db_blocker.unblock(), scenario.running(folder, threads=1, **quick) as system:
        yield system


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with web_server() as server:
        yield server


def living(kind: str) -> list[Process]:
    return list(Process.objects.filter(kind=kind, stopped_at=None).order_by("id"))


def notices(inbox: Inbox, about: str) -> list[str]:
    """The titles of those about one process: another one may have been silent for a moment."""
    return [one["title"] for one in inbox.notices if about in one["message"]]


def nobody_is_missed() -> bool:
    return not Alert.objects.filter(kind="process_gone", status="firing").exists()


def told(of: str) -> dict[str, str]:
    """What became of each notice about one key."""
    alerts = Alert.objects.filter(key=of).values("id")
    rows = AlertDelivery.objects.filter(alert_id__in=alerts, channel_name="people")
    return dict(rows.values_list("event", "status"))


def test_people_are_told_that_the_only_worker_is_gone_and_that_one_is_back(
    system: System, inbox: Inbox
) -> None:
    system.until(lambda: living("worker") and living("beat"), what="both wrote themselves down")
    AlertRule.objects.exclude(kind="process_gone").update(enabled=False)
    system.until(nobody_is_missed, what="all are there")
    channels.create({"name": "people", "url": inbox.url}, actor=SYSTEM)

    system.processes["worker"].kill()
    its_own = partial(notices, inbox, "Worker 'worker@")
    system.until(its_own, what="the notice arrives")
    assert its_own()[0] == GONE
    system.worker()
    system.wait_ready()
    system.until(lambda: its_own()[-1] == BACK, what="the recovery arrives")

    assert its_own()[:2] == [GONE, BACK]
    system.until(
        lambda: told("worker:worker") == {"fired": "sent", "resolved": "sent"},
        what="both are recorded as sent",
    )


def test_a_beat_that_is_gone_is_told_by_a_worker(system: System, inbox: Inbox) -> None:
    system.until(nobody_is_missed, what="all are there")
    channels.create({"name": "others", "url": inbox.url}, actor=SYSTEM)

    system.processes["beat"].kill()
    its_own = partial(notices, inbox, "Beat '")
    system.until(its_own, what="the notice arrives")
    system.beat()
    system.wait_ready()
    system.until(lambda: its_own()[-1] == BACK, what="the recovery arrives")
    assert its_own()[:2] == [GONE, BACK]


def test_processes_that_are_stopped_say_so_and_nobody_is_alarmed(system: System) -> None:
    stopped = []
    for name, kind, start in (
        ("worker", "worker", system.worker),
        ("beat", "beat", system.beat),
    ):
        before = living(kind)[-1]
        system.processes[name].stop()
        before.refresh_from_db()
        assert before.stopped_at is not None
        stopped.append(before)
        start()
        system.wait_ready()
        later = Process.objects.filter(kind=kind, id__gt=before.id)
        system.until(later.exists, what="its successor is there")

    for one in stopped:
        about_it = Alert.objects.filter(message__contains=f"(pid {one.pid})")
        assert not about_it.filter(last_seen_at__gt=one.stopped_at).exists()
