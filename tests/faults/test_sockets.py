"""Slow and hostile clients of the live feed, and a Redis that dies under the healthy ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Final

import psutil
import pytest
import requests
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from executions_app import events
from executions_app.audit import SYSTEM
from executions_app.events import Cursor, NewEvent
from scheduler_app import schedules
from tests.executions_app.live_client import sign_in
from tests.faults.listening import Listener, address, deaf, headers, listening, ring
from tests.faults.nemesis import Nemesis
from tests.faults.sampling import Fattest
from tests.journeys import scenario
from tests.journeys.scenario import reaches, schedule
from tests.journeys.web import serving
from tests.processes import Process, System

pytestmark = [pytest.mark.fault, pytest.mark.long]

HEALTHY: Final = 20
DEAF: Final = 200
DEAF_TO_THE_PAST: Final = 20  # who ask to be told what they have missed, and do not read that
EXECUTIONS: Final = 60
NOISE: Final = 2_000  # events of 4 kB: more than the kernel and the mailbox of a deaf client hold
AT_ONCE: Final = 20
MIB: Final = 1024 * 1024
MOST_GROWTH: Final = 50 * MIB
MOST_LAG_SECONDS: Final = 2.0
HOSTILE_ROUNDS: Final = 10
TOO_BIG: Final = {1009, None}  # None: reset, while the rest of the frame was still on its way
ELSEWHERE: Final = "http://evil.example"


def test_clients_that_never_read_and_hostile_ones_cost_the_others_nothing(
    system: System, nemesis: Nemesis
) -> None:
    session = sign_in(User.objects.get(id=scenario.owner_id()))
    idle = schedule(overlap_policy="allow")
    with serving(system) as url, ExitStack() as stack:
        web = system.processes["web"]
        listeners = stack.enter_context(listening(url, session, many=HEALTHY))
        system.until(lambda: all(one.since for one in listeners), what="all are subscribed")
        since = events.end()
        with Fattest(web.pid) as fattest:
            for _ in range(DEAF):
                stack.enter_context(closing(deaf(url, session)))
            made = [schedules.trigger(idle, actor=SYSTEM) for _ in range(EXECUTIONS // 2)]
            make_noise(system)
            for _ in range(DEAF_TO_THE_PAST):
                stack.enter_context(closing(deaf(url, session, since=str(since))))
            nemesis.strikes("client that never reads", times=DEAF + DEAF_TO_THE_PAST)
            complaints = list(what_hostile_clients_see(url, session, nemesis))
            last_calm = time.time()
            system.redis_server().kill()
            system.redis_server()
            made += [schedules.trigger(idle, actor=SYSTEM) for _ in range(EXECUTIONS // 2)]
            for execution in made:
                reaches(system, execution, "completed")
            system.until(lambda: connections(web) == HEALTHY, what="the deaf are gone", seconds=90)
        shown = in_rest(url, session, [str(one) for one in made])
        system.until(lambda: not differing(listeners, shown), what="all show what REST says")

        told = set(map(str, cursors(since)))
        system.until(lambda: all(told <= set(one.heard) for one in listeners), what="all heard all")

    nemesis.found([*complaints, *unhealthy(listeners, last_calm)])
    assert fattest.growth < MOST_GROWTH, f"the web grew by {fattest.growth / MIB:.0f} MiB"


def make_noise(system: System) -> None:
    """More than any client's buffers hold, in pieces that a healthy one keeps up with."""
    told = {"name": "noise", "text": "n" * 4_000}
    for begin in range(0, NOISE, AT_ONCE):
        topics = range(begin, begin + AT_ONCE)
        with transaction.atomic():
            events.emit([NewEvent("schedule:updated", f"noise:{n}", told) for n in topics])
        ring(system.redis_url)
        time.sleep(0.2)


def what_hostile_clients_see(url: str, session: str, nemesis: Nemesis) -> Iterator[str]:
    """Complaints about how the web process treats those who do what nobody should."""
    signed_in, elsewhere = headers(url, session), headers(url, session, origin=ELSEWHERE)
    too_much = "x" * MIB
    treated: list[tuple[str, object, Callable[[], object]]] = [
        ("frame of 1 MiB", True, lambda: close_code(url, signed_in, too_much) in TOO_BIG),
        ("hundred messages at once", 4429, lambda: close_code(url, signed_in, *["{}"] * 100)),
        ("nobody signed in", 4401, lambda: close_code(url, headers(url))),
        ("page of another site", 403, lambda: refusal(url, elsewhere)),
        ("message that is no JSON", "malformed", lambda: complaint(url, signed_in, '{"type":')),
    ]
    for _ in range(HOSTILE_ROUNDS):
        for what, wanted, act in treated:
            nemesis.strikes(what)
            seen = act()
            if seen != wanted:
                yield f"{what}: {seen!r} instead of {wanted!r}"


def close_code(url: str, said: dict[str, str], *messages: str) -> int | None:
    """With which code a client is closed that says this."""
    try:
        with connect(address(url), additional_headers=said, compression=None) as client:
            for message in messages:
                client.send(message)
            while True:
                client.recv(timeout=20)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def refusal(url: str, said: dict[str, str]) -> int:
    """With which status a page of another site is refused."""
    try:
        with connect(address(url), additional_headers=said):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def complaint(url: str, said: dict[str, str], message: str) -> str:
    """What a client is told that says this; its connection lives on."""
    with connect(address(url), additional_headers=said) as client:
        client.recv(timeout=20)
        client.send(message)
        told = json.loads(client.recv(timeout=20))
        client.send('{"type": "ping"}')
        assert json.loads(client.recv(timeout=20))["type"] == "pong"
    return str(told["code"])


def connections(process: Process) -> int:
    """How many connections of clients a web process holds, whether they read or not."""
    port = int(process.argv[process.argv.index("--port") + 1])
    held = psutil.Process(process.pid).net_connections("tcp")
    return sum(1 for one in held if one.status != psutil.CONN_LISTEN and one.laddr.port == port)


def in_rest(url: str, session: str, executions: list[str]) -> dict[str, str]:
    """{execution: status}, as REST tells it."""
    with requests.Session() as rest:
        rest.cookies.set(settings.SESSION_COOKIE_NAME, session)
        answers = {one: rest.get(f"{url}/api/execution/executions/{one}") for one in executions}
    return {one: answer.json()["status"] for one, answer in answers.items()}


def cursors(since: Cursor) -> Iterator[Cursor]:
    """Everything that was told since then."""
    while page := events.after(since, limit=1_000):
        yield from (one.cursor for one in page)
        since = page[-1].cursor


def differing(listeners: list[Listener], shown: dict[str, str]) -> list[str]:
    """What some client shows otherwise than REST."""
    return [
        f"{execution} is {status}, and a client shows {one.states.get(execution)}"
        for one in listeners
        for execution, status in shown.items()
        if one.states.get(execution) != status
    ]


def unhealthy(listeners: list[Listener], last_calm: float) -> Iterator[str]:
    """Clients that kept up and were told late, or that they had missed something."""
    for number, one in enumerate(listeners):
        if one.resets:
            yield f"client {number} was told {one.resets} times that it had missed something"
        if one.lag(before=last_calm) > MOST_LAG_SECONDS:
            yield f"client {number} was told {one.lag(before=last_calm):.1f} s late"
