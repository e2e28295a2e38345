"""Web processes told to stop one after the other while clients ask without pause."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from executions_app import tokens
from executions_app.models import Execution, IdempotencyKey
from tests.faults.leaving import exit_status, tell
from tests.faults.nemesis import Nemesis
from tests.journeys import scenario
from tests.journeys.scenario import schedule
from tests.journeys.web import serving
from tests.processes import System

pytestmark = [pytest.mark.fault, pytest.mark.long]

NAMES: Final = ("web-1", "web-2")
CLIENTS: Final = 4
ROUNDS: Final = 3
ANSWERED_BETWEEN: Final = 40  # requests, before the next process is told to stop
PATIENCE_SECONDS: Final = 30.0


@dataclass
class Balancer:
    """Gives each request to one of the processes; to another one only if that refuses it.

    A connection may be made by the kernel alone: when a process closes its door, those that it has
    not taken from there are reset. Such a request is lost `in_the_doorway`, and never came in.
    """

    addresses: Sequence[str]
    path: str
    headers: dict[str, str]
    accepted: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    in_the_doorway: list[str] = field(default_factory=list)
    refusals: int = 0

    def ask(self, first: int) -> None:
        """One POST over a connection of its own, as a balancer without kept connections does."""
        for number in range(len(self.addresses)):
            address = self.addresses[(first + number) % len(self.addresses)]
            connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
            try:
                connection.connect()
            except ConnectionRefusedError:
                self.refusals += 1
                continue
            self._post(connection)
            return
        self.failed.append("nobody took the connection")

    def _post(self, connection: http.client.HTTPConnection) -> None:
        key = str(uuid4())
        headers = {**self.headers, "Idempotency-Key": key}
        try:
            connection.request("POST", self.path, json.dumps({}), headers)
            answer = connection.getresponse()
            answer.read()
            self.accepted[answer.status] += 1
        except (ConnectionResetError, BrokenPipeError):
            self.in_the_doorway.append(key)
        except (OSError, http.client.HTTPException) as error:
            self.failed.append(f"accepted, and then: {error!r}")
        finally:
            connection.close()

    @contextmanager
    def under_load(self) -> Iterator[None]:
        """Clients ask without pause while the block runs."""
        is_over = threading.Event()

        def keep_asking(number: int) -> None:
            while not is_over.is_set():
                self.ask(number)
                number += 1

        clients = [threading.Thread(target=keep_asking, args=[one]) for one in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            is_over.set()
            for client in clients:
                client.join()


def test_web_processes_that_are_restarted_one_after_the_other_fail_no_request(
    system: System, nemesis: Nemesis
) -> None:
    one = schedule(overlap_policy="allow")
    owner = User.objects.get(id=scenario.owner_id())
    _, token = tokens.create(owner, name="balancer", now=timezone.now())
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(system, name=name)) for name in NAMES]
        balancer = Balancer(
            [urlsplit(url).netloc for url in urls],
            f"/api/scheduler/schedules/{one.id}/trigger",
            headers,
        )
        with balancer.under_load():
            for _ in range(ROUNDS):
                for name in NAMES:
                    restart(system, name, balancer)

    came_in = IdempotencyKey.objects.filter(key__in=balancer.in_the_doorway)
    nemesis.found([*balancer.failed, *(f"{one.key} came in and was dropped" for one in came_in)])
    assert set(balancer.accepted) == {202}
    assert balancer.refusals > 0
    assert Execution.objects.filter(schedule_id=one.id).count() == balancer.accepted[202]


def restart(system: System, name: str, balancer: Balancer) -> None:
    """As a supervisor does it: told to stop, waited for, started, and used again."""
    process = system.processes[name]
    tell(process)
    assert exit_status(system, process) == 0
    process.start()
    address = balancer.addresses[NAMES.index(name)]
    system.until(lambda: answers(address), what=f"{name} answers again")
    enough = balancer.accepted.total() + ANSWERED_BETWEEN
    system.until(lambda: balancer.accepted.total() >= enough, what="both are in use again")


def answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/api/health/live")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
