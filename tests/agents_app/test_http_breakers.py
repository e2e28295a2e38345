"""Endpoints that fail, from the call to the error record: refused, probed, called again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from agents_app import runner
from agents_app.clients import http
from agents_app.handlers import registry
from agents_app.handlers.http import HttpRequest, HttpRequestConfig
from errors_app.breakers import store as redis_store
from errors_app.breakers.recorder import Recorder
from errors_app.breakers.refusal import BreakerOpen
from errors_app.breakers.rules import PATIENCE_MS, Rules
from errors_app.breakers.script import PREFIX
from errors_app.models import Breaker, BreakerTransition, ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.models import Event
from executions_app.states import RecoveryStatus
from tests.agents_app.context import TestContext
from tests.agents_app.scripted import Queue, stored
from tests.errors_app.breaking import SLOW, a_process, tell_nothing_more, until


@pytest.fixture(autouse=True)
def forgotten(httpserver: HTTPServer) -> Iterator[None]:
    """All tests talk to one server, whose breakers would remember the last one, or hear of it."""
    hosts = [f"localhost:{httpserver.port}", f"127.0.0.1:{httpserver.port}", "127.0.0.1:1"]
    keys = [f"{PREFIX}http://{host}" for host in hosts]
    redis_store.client().delete(*keys, f"{PREFIX}endpoint:a")
    yield
    tell_nothing_more()


@pytest.fixture
def door() -> Iterator[http.Door]:
    door = http.Door(["127.0.0.1"], a_process())
    yield door
    door.close()


def call(door: http.Door, url: str, **config: Any) -> Any:
    return HttpRequest(door).run(TestContext(HttpRequestConfig(url=url, **config))).output


def fail(door: http.Door, url: str, *, times: int = 1, **config: Any) -> None:
    for _ in range(times):
        with pytest.raises(HandlerError, match=r"answered|failed"):
            call(door, url, **config)


def test_an_endpoint_that_answers_500_is_left_alone_and_another_is_not(
    door: http.Door, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/broken").respond_with_data(status=500)
    httpserver.expect_request("/well").respond_with_json({})
    fail(door, httpserver.url_for("/broken"), times=5)

    with pytest.raises(BreakerOpen, match=f"http://localhost:{httpserver.port} is left alone"):
        call(door, httpserver.url_for("/well"))

    assert len(httpserver.log) == 5
    assert call(door, f"http://127.0.0.1:{httpserver.port}/well")["status"] == 200


def test_an_endpoint_that_nobody_answers_for_is_left_alone(door: http.Door) -> None:
    fail(door, "http://127.0.0.1:1/", times=5)

    with pytest.raises(BreakerOpen):
        call(door, "http://127.0.0.1:1/")


@pytest.mark.parametrize(("patience_ms", "is_left_alone"), [(20, True), (PATIENCE_MS, False)])
def test_an_answer_that_does_not_come_in_time_is_a_failure_unless_the_caller_gave_up_soon(
    httpserver: HTTPServer, *, patience_ms: int, is_left_alone: bool
) -> None:
    door = http.Door(["127.0.0.1"], a_process(replace(SLOW, patience_ms=patience_ms)))
    is_over = threading.Event()

    def slow(_: Request) -> Response:
        is_over.wait(5)
        return Response()

    httpserver.expect_request("/").respond_with_handler(slow)
    for _ in range(5):
        with pytest.raises(HandlerError, match="did not end within"):
            call(door, httpserver.url_for("/"), timeout_ms=30)
    is_over.set()

    with pytest.raises(BreakerOpen) if is_left_alone else nullcontext():
        call(door, httpserver.url_for("/"))
    door.close()


@pytest.mark.parametrize("status", [404, 408, 429])
def test_an_endpoint_that_refuses_is_called_again(
    door: http.Door, httpserver: HTTPServer, status: int
) -> None:
    httpserver.expect_request("/").respond_with_data(status=status)

    fail(door, httpserver.url_for("/"), times=10)

    assert len(httpserver.log) == 10


def test_a_failure_that_a_schedule_expects_is_none(door: http.Door, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_data(status=503)

    statuses = {
        call(door, httpserver.url_for("/"), expected_status=[503])["status"] for _ in range(10)
    }

    assert statuses == {503}


def test_a_schedule_can_do_without_its_breaker(door: http.Door, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_data(status=500)

    fail(door, httpserver.url_for("/"), times=10, circuit_breaker=False)
    fail(door, httpserver.url_for("/"), times=5)
    with pytest.raises(BreakerOpen):
        call(door, httpserver.url_for("/"))
    fail(door, httpserver.url_for("/"), circuit_breaker=False)

    assert len(httpserver.log) == 16


def test_a_redirect_asks_for_the_breaker_of_where_it_leads(
    door: http.Door, httpserver: HTTPServer
) -> None:
    there = f"http://127.0.0.1:{httpserver.port}/broken"
    httpserver.expect_request("/moved").respond_with_data(status=302, headers={"Location": there})
    httpserver.expect_request("/broken").respond_with_data(status=500)
    httpserver.expect_request("/well").respond_with_json({})
    fail(door, httpserver.url_for("/moved"), times=5)

    with pytest.raises(BreakerOpen, match=f"http://127.0.0.1:{httpserver.port} is left alone"):
        call(door, httpserver.url_for("/moved"))

    assert call(door, httpserver.url_for("/well"))["status"] == 200


def test_an_endpoint_can_have_a_breaker_of_its_own(door: http.Door, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/broken").respond_with_data(status=500)
    broken = http.Request(method="GET", url=httpserver.url_for("/broken"), breaker="endpoint:a")

    for _ in range(5):
        assert door.fetch(broken, timeout=5).status == 500

    with pytest.raises(BreakerOpen, match="endpoint:a is left alone"):
        door.fetch(broken, timeout=5)
    fail(door, httpserver.url_for("/broken"))


def test_one_line_tells_of_a_call_and_keeps_its_secrets(
    door: http.Door, httpserver: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="agents_app.clients.http")
    httpserver.expect_request("/hello").respond_with_json({"password": "hunter2"})
    url = httpserver.url_for("/hello?token=hunter2").replace("//", "//anna:hunter2@")
    headers = {"Authorization": "Bearer hunter2", "X-Request-ID": "order-7"}

    call(door, url, headers=headers)

    (line,) = [one for one in caplog.messages if "answered" in one]
    assert line.startswith(f"GET http://localhost:{httpserver.port}/hello answered 200 in ")
    assert line.endswith("ms (request order-7)")
    assert "hunter2" not in line


def test_the_line_is_not_written_by_default(
    door: http.Door, httpserver: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="agents_app.clients.http")
    httpserver.expect_request("/").respond_with_json({})

    call(door, httpserver.url_for("/"))

    assert [one for one in caplog.messages if "answered" in one] == []


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the door has written, unless it is asked for more."""
    name = "agents_app.clients.http"
    caplog.set_level(logging.INFO, logger=name)
    return lambda: [one.getMessage() for one in caplog.records if one.name == name]


SECRETS = {"Authorization": "Bearer hunter2", "X-Request-ID": "order-7"}


@pytest.mark.parametrize("status", [404, 429, 503])
def test_an_answer_that_is_no_success_is_one_line_by_default(
    door: http.Door, httpserver: HTTPServer, told: Callable[[], list[str]], status: int
) -> None:
    httpserver.expect_request("/hello").respond_with_data("hunter2", status=status)
    url = httpserver.url_for("/hello?token=hunter2").replace("//", "//anna:hunter2@")

    fail(door, url, headers=SECRETS)

    (line,) = told()
    assert line.startswith(f"GET http://localhost:{httpserver.port}/hello answered {status} in ")
    assert line.endswith(" ms (request order-7)")
    assert "hunter2" not in line


def test_a_key_in_a_path_is_no_part_of_the_line(
    door: http.Door, httpserver: HTTPServer, told: Callable[[], list[str]]
) -> None:
    run = "019a1b2c-3d4e-7f50-8a6b-9c0d1e2f3a4b"
    path = f"/services/T012/bot99:{'aB3' * 8}/runs/{run}/order-of-the-day"
    httpserver.expect_request(path).respond_with_data(status=404)

    fail(door, httpserver.url_for(path))

    (line,) = told()
    assert f"/services/T012/***/runs/{run}/order-of-the-day answered 404" in line


def test_a_redirect_that_is_not_followed_is_no_failure(
    door: http.Door, httpserver: HTTPServer, told: Callable[[], list[str]]
) -> None:
    httpserver.expect_request("/").respond_with_data(status=302, headers={"Location": "/there"})

    call(door, httpserver.url_for("/"), follow_redirects=False)

    assert told() == []


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1:1", "HandlerError transient"),  # nobody there
        ("127.0.0.2:1", "HandlerError permanent"),  # an address that may not be called
    ],
)
def test_a_call_without_an_answer_is_one_line_by_default(
    door: http.Door, told: Callable[[], list[str]], host: str, said: str
) -> None:
    with pytest.raises(HandlerError):
        call(door, f"http://anna:hunter2@{host}/hello?token=hunter2", headers=SECRETS)

    (line,) = told()
    assert line.startswith(f"GET http://{host}/hello brought no answer ({said}) in ")
    assert line.endswith(" ms (request order-7)")
    assert "hunter2" not in line


def test_a_call_that_takes_too_long_is_one_line_by_default(
    door: http.Door, httpserver: HTTPServer, told: Callable[[], list[str]]
) -> None:
    is_over = threading.Event()

    def answer(_request: Request) -> Response:
        is_over.wait(20)
        return Response("too late")

    httpserver.expect_request("/slow").respond_with_handler(answer)

    with pytest.raises(HandlerError):
        call(door, httpserver.url_for("/slow"), timeout_ms=100)

    is_over.set()
    (line,) = told()
    assert "/slow brought no answer (HandlerError timeout) in " in line


def test_a_call_that_is_refused_unsent_is_one_line_by_default(
    door: http.Door, httpserver: HTTPServer, told: Callable[[], list[str]]
) -> None:
    httpserver.expect_request("/broken").respond_with_data(status=500)
    fail(door, httpserver.url_for("/broken"), times=5)

    with pytest.raises(BreakerOpen):
        call(door, httpserver.url_for("/broken"))

    line = told()[-1]
    assert "/broken brought no answer (BreakerOpen transient) in " in line


# Whole executions


def calling(monkeypatch: pytest.MonkeyPatch, rules: Rules) -> None:
    """Executions of the type `calls` go through a door whose breakers record what they do."""
    door = http.Door(["127.0.0.1"], a_process(rules, Recorder()))

    class Calls(HttpRequest):
        def __init__(self) -> None:
            super().__init__(door)

    monkeypatch.setitem(registry._registered, "calls", Calls)


def run(queue: Queue, url: str, **given: Any) -> UUID:
    one = queue(task_type="calls", task_config={"url": url}, **given)
    runner.run([one])
    return one


@pytest.mark.django_db(transaction=True)
def test_executions_are_refused_probe_and_go_on(
    queue: Queue, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calling(monkeypatch, SLOW)
    httpserver.expect_request("/").respond_with_data(status=500)
    url, key = httpserver.url_for("/"), f"http://localhost:{httpserver.port}"
    for _ in range(5):
        run(queue, url)

    refused = run(queue, url)

    assert stored(refused).status == "failed"
    record = ErrorRecord.objects.get(execution_id=refused)
    assert (record.exception_type, record.error_class) == ("BreakerOpen", "transient")
    assert record.context["breaker"]["key"] == key
    httpserver.clear()
    httpserver.expect_request("/").respond_with_json({})
    redis_store.client().hset(PREFIX + key, "next_probe", 1)  # the cooldown is over
    until(lambda: stored(run(queue, url)).status == "completed", what="the probe goes")
    until(
        lambda: BreakerTransition.objects.filter(key=key, to_state="closed").exists(),
        what="its close is stored",
    )
    told = list(BreakerTransition.objects.filter(key=key).order_by("at"))
    assert [one.to_state for one in told] == ["open", "half_open", "closed"]
    assert (told[0].failures, told[0].calls) == (5, 5)
    events = Event.objects.filter(type__startswith="breaker:").order_by("id")
    assert [one.type for one in events] == ["breaker:opened", "breaker:half_open", "breaker:closed"]
    row = Breaker.objects.get(key=key)
    assert (row.state, row.opened_count) == ("closed", 1)


@pytest.mark.django_db(transaction=True)
def test_a_refusal_is_an_attempt_and_waits_beyond_the_next_probe(
    queue: Queue, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calling(monkeypatch, SLOW)
    httpserver.expect_request("/").respond_with_data(status=500)
    for _ in range(5):
        run(queue, httpserver.url_for("/"))

    refused = stored(run(queue, httpserver.url_for("/"), max_retries=3))

    assert (refused.status, refused.attempt) == ("pending", 1)
    record = ErrorRecord.objects.get(execution_id=refused.id)
    wait = refused.due_at - record.ended_at
    assert timedelta(seconds=55) < wait < timedelta(seconds=121)


@pytest.mark.django_db(transaction=True)
def test_retry_after_of_a_429_moves_the_next_attempt(
    queue: Queue, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calling(monkeypatch, SLOW)
    httpserver.expect_request("/").respond_with_data(status=429, headers={"Retry-After": "120"})

    asked = [stored(run(queue, httpserver.url_for("/"), max_retries=3)) for _ in range(6)]

    assert len(httpserver.log) == 6
    for one in asked:
        record = ErrorRecord.objects.get(execution_id=one.id)
        assert (one.status, record.error_class) == ("pending", ErrorClass.TRANSIENT)
        assert timedelta(seconds=119) < one.due_at - record.ended_at < timedelta(seconds=125)


@pytest.mark.django_db(transaction=True)
def test_failures_that_use_up_all_attempts_are_escalated(
    queue: Queue, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calling(monkeypatch, SLOW)
    httpserver.expect_request("/").respond_with_data(status=503)

    given_up = run(queue, httpserver.url_for("/"), max_retries=0)

    record = ErrorRecord.objects.get(execution_id=given_up)
    assert record.recovery_status == RecoveryStatus.ESCALATED
