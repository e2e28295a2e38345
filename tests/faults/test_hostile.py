"""Endpoints that answer with anything but an answer, called by a real worker that must not grow."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import pytest
from pytest_django import DjangoDbBlocker

from executions_app.models import Execution
from tests.agents_app.hostile import Answer, Hostile, drip, exactly, flood, hostile
from tests.faults.nemesis import Nemesis
from tests.faults.sampling import Fattest
from tests.journeys import scenario
from tests.journeys.scenario import errors, reaches, run
from tests.processes import System

pytestmark = pytest.mark.fault

TIMEOUT_MS: Final = 3_000
PATIENT_MS: Final = 30_000
MOST_GROWTH: Final = 50 * 1024 * 1024
THREADS: Final = 16
OK: Final = b"HTTP/1.1 200 OK\r\n"
JSON: Final = OK + b"Content-Type: application/json\r\n"
MEGABYTE: Final = 1024 * 1024
MOST_STORED: Final = MEGABYTE


class Wanted(NamedTuple):
    """How an execution ends: with an error of this class, or with a body of this kind."""

    error_class: str = ""
    truncated: bool = False


def bomb() -> bytes:
    """500 MB of zeros, in half a megabyte."""
    packed = zlib.compressobj(wbits=31)
    return b"".join(packed.compress(bytes(MEGABYTE)) for _ in range(500)) + packed.flush()


def small_bomb() -> bytes:
    packed = gzip.compress(bomb())
    coding = b"Content-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    return OK + coding + packed


def moved(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


def body(content: bytes) -> bytes:
    return JSON + b"Content-Length: %d\r\n\r\n" % len(content) + content


FORBIDDEN: Final = "http://127.0.0.1:1/"
HOSTILITIES: Final[dict[str, tuple[Callable[[], Answer], Wanted]]] = {
    "a byte now and then": (
        lambda: drip(OK + b"Content-Length: 1000\r\n\r\n", b"x"),
        Wanted("timeout"),
    ),
    "a header now and then": (lambda: drip(OK, b"X: y\r\n"), Wanted("timeout")),
    "nothing at all": (lambda: drip(b"", b""), Wanted("timeout")),
    "headers without end": (lambda: flood(OK, b"X: y\r\n" * 1000), Wanted("malformed")),
    "a header of 10 MB": (
        lambda: exactly(OK + b"X: " + b"x" * 10 * MEGABYTE + b"\r\n\r\n"),
        Wanted("malformed"),
    ),
    "a body of 5 GB": (
        lambda: flood(OK + b"Content-Length: 5368709120\r\n\r\n", b"x" * 65_536),
        Wanted(truncated=True),
    ),
    "a body without end": (lambda: flood(OK + b"\r\n", b"x" * 65_536), Wanted(truncated=True)),
    "a bomb": (lambda: exactly(small_bomb()), Wanted(truncated=True)),
    "a redirect without end": (lambda: exactly(moved("/again")), Wanted("permanent")),
    "a redirect to this machine": (lambda: exactly(moved(FORBIDDEN)), Wanted("permanent")),
    "a redirect to a file": (lambda: exactly(moved("file:///etc/passwd")), Wanted("permanent")),
    "bytes that are no text": (lambda: exactly(body(b"\xff\xfe\x00\x80")), Wanted()),
    "half of a JSON": (lambda: exactly(body(b'{"a": [1, 2')), Wanted()),
    "a JSON too deep": (lambda: exactly(body(b"[" * 100_000)), Wanted()),
    "no HTTP": (lambda: exactly(b"\x16\x03\x01 hello\r\n\r\n"), Wanted("malformed")),
    "a connection that is cut": (
        lambda: exactly(OK + b"Content-Length: 100\r\n\r\nhalf"),
        Wanted("transient"),
    ),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Hostile]]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(hostile(make())) for name, (make, _) in HOSTILITIES.items()
        }


@pytest.fixture(scope="module")
def living_system(
    servers: dict[str, Hostile],
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    """A system whose worker may call exactly these servers of this machine."""
    allow = ",".join(one.url.removeprefix("http://") for one in servers.values())
    folder = tmp_path_factory.mktemp("hostile")
    with (
        django_db_blocker.unblock(),
        scenario.running(folder, threads=THREADS, OUTBOUND_ALLOW=allow) as system,
    ):
        yield system


class Ordeal(NamedTuple):
    """So often all of them are called; how late is too late after their time limit.

    The short form gives all but those who never end the time that a slow machine needs.
    """

    rounds: int
    limit_ms: int
    late: timedelta

    def limit_of(self, name: str) -> int:
        return TIMEOUT_MS if HOSTILITIES[name][1].error_class == "timeout" else self.limit_ms


@pytest.mark.parametrize(
    "ordeal",
    [
        pytest.param(Ordeal(1, PATIENT_MS, timedelta(seconds=20)), id="once"),
        pytest.param(
            Ordeal(20, TIMEOUT_MS, timedelta(seconds=2)), id="twenty times", marks=pytest.mark.long
        ),
    ],
)
def test_every_hostile_answer_is_an_outcome_of_bounded_size_in_bounded_time_and_memory(
    system: System, servers: dict[str, Hostile], nemesis: Nemesis, ordeal: Ordeal
) -> None:
    worker = system.worker()
    pid, deaths = worker.pid, worker.deaths
    first = call(servers["half of a JSON"], timeout_ms=PATIENT_MS)
    reaches(system, first, "completed")  # what it loads once is loaded

    with Fattest(pid) as fattest:
        for _ in range(ordeal.rounds):
            made = {
                name: call(server, timeout_ms=ordeal.limit_of(name))
                for name, server in servers.items()
            }
            nemesis.strikes("hostile answer", times=len(made))
            for name, execution in made.items():
                status = "failed" if HOSTILITIES[name][1].error_class else "completed"
                reaches(system, execution, status)
            nemesis.found(wrong(made, ordeal))

    assert (worker.is_alive(), worker.pid, worker.deaths) == (True, pid, deaths)
    assert fattest.growth < MOST_GROWTH


def call(server: Hostile, *, timeout_ms: int) -> UUID:
    return run(task_type="http_request", task_config={"url": server.url}, timeout_ms=timeout_ms)


def wrong(made: dict[str, UUID], ordeal: Ordeal) -> Iterator[str]:
    for name, execution in made.items():
        wanted = HOSTILITIES[name][1]
        found = [each.error_class for each in errors(execution)]
        if found != [wanted.error_class] * bool(wanted.error_class):
            yield f"{name}: {found}"
        one = Execution.objects.get(id=execution)
        assert one.started_at is not None
        assert one.completed_at is not None
        took = one.completed_at - one.started_at
        if took > timedelta(milliseconds=ordeal.limit_of(name)) + ordeal.late:
            yield f"{name}: ran for {took}"
        if wanted.error_class or one.result is None:
            continue
        is_cut = one.result_truncated or one.result["truncated"]
        if is_cut != wanted.truncated or len(json.dumps(one.result)) > MOST_STORED:
            yield f"{name}: cut: {is_cut}, {len(json.dumps(one.result))} characters stored"
