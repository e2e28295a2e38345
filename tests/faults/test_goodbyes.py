"""A beat and a web process that are told to stop: nothing they began is left half done."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from agents_app import backlog
from executions_app.models import Execution
from tests.faults.leaving import exit_status, locked, says, tell
from tests.journeys import scenario
from tests.journeys.scenario import every, schedule
from tests.journeys.web import serving
from tests.processes import System

pytestmark = pytest.mark.fault

WAITS = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
    AND datname = current_database() AND application_name = 'cadenza-web'
"""


def test_a_beat_that_is_told_to_stop_sends_what_it_has_committed(system: System) -> None:
    for process in (system.worker(), system.beat()):
        tell(process)
        assert exit_status(system, process) == 0
    for _ in range(20):
        schedule(**every(1))

    celery = [sys.executable, "-m", "celery", "-A", "config.celery", "beat", "--pidfile="]
    scheduler = ["-S", "tests.faults.stopping.StoppingScheduler", "-l", "INFO"]
    beat = system._process("stopping", [*celery, *scheduler, "-s", str(system.folder / "stopping")])
    beat.is_wanted = False

    assert exit_status(system, beat) == 0
    committed = set(Execution.objects.filter(status="queued").values_list("id", flat=True))
    assert committed
    assert {each for text in messages(system) for each in backlog._execution_ids(text)} == committed


def messages(system: System) -> list[Any]:
    names = ("critical", "high", "normal", "low")
    return [text for name in names for text in system.broker.lrange(name, 0, -1)]


def test_a_web_process_that_is_told_to_stop_answers_what_it_was_asked_and_says_goodbye(
    system: System,
) -> None:
    visitor = Client()
    visitor.force_login(User.objects.get(id=scenario.owner_id()))
    cookie = f"sessionid={visitor.cookies['sessionid'].value}"
    answers: list[requests.Response] = []
    with serving(system) as url:
        web = system.processes["web"]
        address = url.replace("http", "ws") + "/ws"
        with connect(address, additional_headers={"Cookie": cookie}, origin=Origin(url)) as socket:
            socket.recv()
            with locked(system, "system_state"):
                asking = threading.Thread(
                    target=lambda: answers.append(requests.get(f"{url}/api/health", timeout=90))
                )
                asking.start()
                system.until(waits_for_a_lock, what="the request is on its way")
                tell(web)
                system.until(lambda: says(web, "Shutting down"), what="it has heard")
            asking.join()
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=90)

        assert exit_status(system, web) == 0
    # Whether its database had it wait for too long is not asked: it is answered, and whole.
    assert ["beat" in each.json()["parts"] for each in answers] == [True]
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(WAITS)
        return bool(cursor.fetchone()[0])
