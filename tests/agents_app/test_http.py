from __future__ import annotations

import gzip
import json
import resource
import socket
import ssl
import struct
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from agents_app.clients import http, lookups
from agents_app.clients.addresses import AllowList
from agents_app.clients.statuses import retry_after
from agents_app.handlers.http import HttpRequest, HttpRequestConfig
from errors_app.taxonomy import Cancelled, DeadlineExceeded, ErrorClass, HandlerError
from tests.agents_app.context import TestContext
from tests.agents_app.hostile import drip, exactly, flood, hostile

OK = b"HTTP/1.1 200 OK\r\n"
CAP = 100_000


@pytest.fixture
def door() -> Iterator[http.Door]:
    door = http.Door(["127.0.0.1"])
    yield door
    door.close()


def _run(door: http.Door, context: TestContext[HttpRequestConfig]) -> dict[str, Any]:
    output = HttpRequest(door).run(context).output
    assert isinstance(output, dict)
    return output


def _context(url: str, **given: Any) -> TestContext[HttpRequestConfig]:
    of_context = {
        name: given.pop(name)
        for name in ("seconds", "parameters", "attempt", "correlation_id")
        if name in given
    }
    return TestContext(HttpRequestConfig(url=url, **given), **of_context)


def _fetch(door: http.Door, url: str, *, timeout: float = 10.0, **given: Any) -> http.Response:
    request = http.Request(method=given.pop("method", "GET"), url=url, **given)
    return door.fetch(request, timeout=timeout, max_bytes=CAP)


def _failure(door: http.Door, url: str, *, timeout: float = 10.0, **given: Any) -> HandlerError:
    with pytest.raises(HandlerError) as caught:
        _fetch(door, url, timeout=timeout, **given)
    return caught.value


def _echo(request: Request) -> Response:
    seen = {
        "method": request.method,
        "query": request.args.to_dict(flat=False),
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "body": request.get_data(as_text=True),
    }
    return Response(json.dumps(seen), content_type="application/json")


# What a call is and what it brings back


def test_a_call_stores_status_headers_and_parsed_json(
    door: http.Door, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/hello").respond_with_json({"a": [1, 2]}, headers={"X-Kind": "test"})

    output = _run(door, _context(httpserver.url_for("/hello")))

    assert (output["status"], output["body"], output["truncated"]) == (200, {"a": [1, 2]}, False)
    assert output["headers"]["x-kind"] == "test"
    assert output["elapsed_ms"] >= 0


def test_every_attempt_carries_the_same_idempotency_key(
    door: http.Door, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_handler(_echo)
    context = _context(httpserver.url_for("/"), attempt=2, correlation_id="order-7")

    headers = _run(door, context)["body"]["headers"]

    assert headers["idempotency-key"] == str(context.execution_id)
    assert headers["x-cadenza-attempt"] == "2"
    assert headers["x-request-id"] == "order-7"
    assert headers["user-agent"] == "Cadenza"
    assert headers["host"] == f"localhost:{httpserver.port}"


def test_without_a_correlation_id_the_execution_is_the_request_id(
    door: http.Door, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_handler(_echo)
    context = _context(httpserver.url_for("/"), correlation_id="a\r\nX-Evil: 1")

    headers = _run(door, context)["body"]["headers"]

    assert headers["x-request-id"] == str(context.execution_id)


@pytest.mark.parametrize(
    ("config", "parameters", "query", "body"),
    [
        ({"method": "post"}, {"a": 1}, {}, '{"a": 1}'),
        ({"method": "POST"}, {}, {}, ""),
        ({"method": "PUT", "json": {"b": 2}}, {"a": 1}, {}, '{"b": 2}'),
        ({"method": "PATCH", "body": "é"}, {"a": 1}, {}, "é"),
        ({"params": {"b": [1, True]}}, {"a": 1}, {"a": ["1"], "b": ["1", "true"]}, ""),
    ],
)
def test_parameters_travel_in_the_body_or_else_in_the_query(
    door: http.Door,
    httpserver: HTTPServer,
    config: dict[str, Any],
    parameters: dict[str, Any],
    query: dict[str, Any],
    body: str,
) -> None:
    httpserver.expect_request("/").respond_with_handler(_echo)

    seen = _run(door, _context(httpserver.url_for("/"), parameters=parameters, **config))["body"]

    assert (seen["query"], seen["body"]) == (query, body)


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (404, ErrorClass.PERMANENT),
        (401, ErrorClass.PERMANENT),
        (408, ErrorClass.TRANSIENT),
        (429, ErrorClass.TRANSIENT),
        (500, ErrorClass.TRANSIENT),
        (503, ErrorClass.TRANSIENT),
    ],
)
def test_a_status_that_is_no_success_says_whether_to_try_again(
    door: http.Door, httpserver: HTTPServer, status: int, error_class: ErrorClass
) -> None:
    httpserver.expect_request("/").respond_with_data(
        "why", status=status, headers={"Retry-After": "7"}
    )

    with pytest.raises(HandlerError, match=f"answered {status}") as caught:
        _run(door, _context(httpserver.url_for("/?token=hunter2")))

    kept = caught.value.context["response"]
    assert caught.value.error_class is error_class
    assert caught.value.retry_after == 7
    assert isinstance(kept, dict)
    assert (kept["status"], kept["body"]) == (status, "why")
    assert "hunter2" not in str(caught.value)


def test_a_schedule_may_expect_another_status(door: http.Door, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_data(status=404)

    assert _run(door, _context(httpserver.url_for("/"), expected_status=[404]))["status"] == 404


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("Sat, 21 Nov 2026 10:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 09:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, now=datetime(2026, 11, 21, 10, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("headers", "body", "understood"),
    [
        (b"Content-Type: application/json\r\n", b"{not json", "{not json"),
        (b"Content-Type: application/json\r\n", b"[" * 50_000, "[" * 50_000),
        (b"Content-Type: a/b+json\r\n", b"[" * 300 + b"]" * 300, "[" * 300 + "]" * 300),
        (b"Content-Type: text/plain; charset=latin-1\r\n", b"caf\xe9", "café"),
        (b"Content-Type: text/plain; charset=no-such\r\n", b"caf\xc3\xa9", "café"),
        (b"Content-Type: text/plain\r\n", b"caf\xc3\xa9 \xff\x00", "café \ufffd\x00"),
        (b"", b"", None),
    ],
)
def test_a_body_nobody_can_read_is_still_a_result(
    door: http.Door, headers: bytes, body: bytes, understood: object
) -> None:
    answer = OK + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body

    with hostile(exactly(answer)) as server:
        assert _fetch(door, server.url).body == understood


def test_cookies_are_neither_kept_nor_shown(door: http.Door, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_handler(
        lambda request: Response(
            request.headers.get("Cookie", "none"), headers={"Set-Cookie": "session=hunter2"}
        )
    )

    first = _fetch(door, httpserver.url_for("/"))
    second = _fetch(door, httpserver.url_for("/"))

    assert first.headers["set-cookie"] == "[scrubbed]"
    assert second.body == "none"


def test_connections_are_kept_for_the_next_call(door: http.Door) -> None:
    def answer(client: socket.socket, over: threading.Event) -> None:
        client.sendall(OK + b"Content-Length: 2\r\n\r\nok")
        while client.recv(65536):
            client.sendall(OK + b"Content-Length: 2\r\n\r\nok")

    with hostile(answer) as server:
        bodies = [_fetch(door, server.url).body for _ in range(5)]
        assert (bodies, server.connections) == (["ok"] * 5, 1)
        door.close()


def test_a_connection_that_was_closed_while_idle_is_opened_anew(door: http.Door) -> None:
    with hostile(exactly(OK + b"Content-Length: 2\r\n\r\nok")) as server:
        bodies = [_fetch(door, server.url).body for _ in range(3)]
        assert (bodies, server.connections) == (["ok"] * 3, 3)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_what_may_be_repeated_is_sent_again_when_a_kept_connection_closes(
    door: http.Door, method: str
) -> None:
    def answer_once_then_close_on_the_next(client: socket.socket, over: threading.Event) -> None:
        client.sendall(OK + b"Content-Length: 2\r\n\r\nok")
        client.recv(65536)

    with hostile(answer_once_then_close_on_the_next) as server:
        _fetch(door, server.url)

        if method == "GET":
            assert _fetch(door, server.url).body == "ok"
        else:
            error = _failure(door, server.url, method=method)
            assert error.error_class is ErrorClass.TRANSIENT

        assert server.connections == (2 if method == "GET" else 1)
        door.close()


def test_the_callers_header_replaces_ours_however_it_is_spelled(door: http.Door) -> None:
    with hostile(exactly(OK + b"Content-Length: 2\r\n\r\nok")) as server:
        _run(door, _context(server.url, headers={"accept": "text/x", "USER-AGENT": "mine"}))

    lines = server.requests[0].lower().split(b"\r\n")
    assert [line for line in lines if line.startswith((b"accept:", b"user-agent:"))] == [
        b"user-agent: mine",
        b"accept: text/x",
    ]


def test_the_user_and_password_of_the_url_become_basic_authorization(
    door: http.Door, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_handler(_echo)

    body = _fetch(door, f"http://who:what%20ever@127.0.0.1:{httpserver.port}/").body

    assert isinstance(body, dict)
    headers = body["headers"]
    assert isinstance(headers, dict)
    assert headers["authorization"] == "Basic " + b64encode(b"who:what ever").decode()
    assert headers["host"] == f"127.0.0.1:{httpserver.port}"


# What may be tried again


def _failed(door: http.Door, url: str, **given: Any) -> HandlerError:
    with pytest.raises(HandlerError) as caught:
        _run(door, _context(url, **given))
    return caught.value


@pytest.mark.parametrize(
    ("method", "is_idempotent"),
    [
        *(("GET", True), ("HEAD", True), ("OPTIONS", True), ("PUT", True), ("DELETE", True)),
        *(("POST", False), ("PATCH", False), ("post", False)),
    ],
)
def test_a_method_says_whether_a_call_may_be_repeated_unless_the_schedule_does(
    method: str, is_idempotent: bool
) -> None:
    def config(**given: Any) -> HttpRequestConfig:
        return HttpRequestConfig.model_validate({"url": "http://x/", "method": method, **given})

    assert config().is_idempotent is is_idempotent
    assert config(idempotent=True).is_idempotent is True
    assert config(idempotent=False).is_idempotent is False


@pytest.mark.parametrize(
    ("status", "headers", "may_repeat"),
    [
        (500, {}, False),
        (502, {}, False),
        (503, {}, False),
        (503, {"Retry-After": "7"}, True),
        (504, {"Retry-After": "7"}, False),
        (429, {}, True),
        (408, {}, True),
        (404, {}, True),
    ],
)
def test_an_unsafe_call_is_repeated_only_if_its_endpoint_says_that_it_did_not_act(
    door: http.Door,
    httpserver: HTTPServer,
    status: int,
    headers: dict[str, str],
    may_repeat: bool,
) -> None:
    httpserver.expect_request("/").respond_with_data("", status=status, headers=headers)
    url = httpserver.url_for("/")

    assert _failed(door, url, method="POST").may_repeat is may_repeat
    assert _failed(door, url, method="POST", idempotent=True).may_repeat is None
    assert _failed(door, url).may_repeat is None


def test_after_a_redirect_another_address_cannot_say_that_an_unsafe_call_did_nothing(
    door: http.Door, httpserver: HTTPServer
) -> None:
    there = {"Location": httpserver.url_for("/result")}
    httpserver.expect_request("/", method="POST").respond_with_data("", status=303, headers=there)
    httpserver.expect_request("/result").respond_with_data("", status=429)

    assert _failed(door, httpserver.url_for("/"), method="POST").may_repeat is False


@pytest.mark.parametrize(
    ("behave", "seconds"),
    [
        pytest.param(drip(b"", b""), 0.5, id="timeout"),
        pytest.param(exactly(b""), 10.0, id="connection lost"),
        pytest.param(exactly(b"SSH-2.0-OpenSSH\r\n"), 10.0, id="no HTTP"),
    ],
)
def test_an_unsafe_call_without_an_answer_may_have_been_carried_out(
    door: http.Door, behave: Any, seconds: float
) -> None:
    with hostile(behave) as server:
        error = _failed(door, server.url, method="POST", timeout_ms=round(seconds * 1000))

    assert error.may_repeat is False


def test_a_time_limit_of_the_execution_is_no_proof_that_an_unsafe_call_did_nothing(
    door: http.Door,
) -> None:
    with (
        hostile(drip(b"", b"")) as server,
        pytest.raises((HandlerError, DeadlineExceeded)) as caught,
    ):
        _run(door, _context(server.url, method="POST", seconds=0.6))

    assert caught.value.may_repeat is False


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://no-such-host.invalid/"])
def test_an_unsafe_call_that_never_left_may_be_repeated(door: http.Door, url: str) -> None:
    error = _failed(door, url, method="POST")

    assert (error.error_class, error.may_repeat) == (ErrorClass.TRANSIENT, True)


def test_a_get_that_must_not_be_repeated_is_not_sent_again_when_a_kept_connection_closes(
    door: http.Door,
) -> None:
    def answer_once_then_close_on_the_next(client: socket.socket, over: threading.Event) -> None:
        client.sendall(OK + b"Content-Length: 2\r\n\r\nok")
        client.recv(65536)

    with hostile(answer_once_then_close_on_the_next) as server:
        _fetch(door, server.url)

        error = _failed(door, server.url, idempotent=False)

        assert (server.connections, error.may_repeat) == (1, False)
        door.close()


# Where a call may go


class _Resolver:
    """The system's resolver, which counts how often `localhost` was asked for."""

    def __init__(self, failures: int = 0) -> None:
        self._ask, self._failures, self.asked = socket.getaddrinfo, failures, 0

    def __call__(self, host: str, *args: Any, **given: Any) -> Any:
        if host != "localhost":
            return self._ask(host, *args, **given)
        self.asked += 1
        if self.asked <= self._failures:
            raise socket.gaierror("try again")
        return self._ask(host, *args, **given)


@pytest.mark.parametrize(("serves_seconds", "asked"), [(3600.0, 1), (0.0, 3)])
def test_an_answer_of_the_resolver_serves_the_calls_of_a_moment(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, serves_seconds: float, asked: int
) -> None:
    httpserver.expect_request("/").respond_with_data("ok")
    resolver = _Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    monkeypatch.setattr(lookups, "ANSWER_SERVES_SECONDS", serves_seconds)
    door = http.Door(["127.0.0.1", "::1"])

    for _ in range(3):
        assert _fetch(door, f"http://localhost:{httpserver.port}/").body == "ok"

    assert resolver.asked == asked
    door.close()


def test_a_name_that_could_not_be_resolved_is_asked_for_again(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    httpserver.expect_request("/").respond_with_data("ok")
    monkeypatch.setattr(socket, "getaddrinfo", _Resolver(failures=1))
    monkeypatch.setattr(lookups, "ANSWER_SERVES_SECONDS", 3600.0)
    door = http.Door(["127.0.0.1", "::1"])
    url = f"http://localhost:{httpserver.port}/"

    assert _failure(door, url).error_class is ErrorClass.TRANSIENT
    assert _fetch(door, url).body == "ok"
    door.close()


def test_an_answer_that_is_held_opens_no_other_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "ANSWER_SERVES_SECONDS", 3600.0)
    with hostile(exactly(OK + b"Content-Length: 2\r\n\r\nok")) as server:
        port = int(server.url.rpartition(":")[2])
        door = http.Door([f"127.0.0.1:{port}"])

        assert _fetch(door, f"http://localhost:{port}/").body == "ok"
        error = _failure(door, "http://localhost:1/")
        door.close()

    assert "OUTBOUND_ALLOW" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://[::1]:1/",
        "http://[::ffff:127.0.0.1]:1/",
        "http://[::7f00:1]:1/",
        "http://[64:ff9b::7f00:1]:1/",
        "http://2130706433:1/",
        "http://0x7f.1:1/",
        "http://0:1/",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://user:hunter2@192.168.0.1/",
    ],
)
def test_private_addresses_are_refused_before_anything_is_sent(url: str) -> None:
    error = _failure(http.Door([]), url)

    assert error.error_class is ErrorClass.PERMANENT
    assert "OUTBOUND_ALLOW" in str(error)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("entry", "address", "host", "port", "is_admitted"),
    [
        ("10.0.0.0/8", "10.1.2.3", "db", 80, True),
        ("10.0.0.0/8", "11.1.2.3", "db", 80, True),
        ("10.0.0.0/8", "192.168.1.1", "db", 80, False),
        ("10.0.0.0/8:8080", "10.1.2.3", "db", 8080, True),
        ("10.0.0.0/8:8080", "10.1.2.3", "db", 80, False),
        ("Db.Internal", "10.1.2.3", "db.internal.", 80, True),
        ("db.internal", "10.1.2.3", "evil-db.internal", 80, False),
        ("db.internal:5000", "10.1.2.3", "db.internal", 5000, True),
        ("::1", "::1", "x", 80, True),
        ("[::1]:8080", "::1", "x", 80, False),
        ("fd00::/8", "fd12::1", "x", 80, True),
        ("127.0.0.1", "::ffff:127.0.0.1", "x", 80, True),
        ("0.0.0.0/0", "::1", "x", 80, False),
    ],
)
def test_the_allow_list_admits_what_it_names(
    entry: str, address: str, host: str, port: int, *, is_admitted: bool
) -> None:
    assert AllowList([entry]).admits(address, host=host, port=port) is is_admitted


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "http://host/", "a b", "[::1", "", "host:port"])
def test_an_unreadable_entry_of_the_allow_list_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="OUTBOUND_ALLOW"):
        AllowList([entry])


def test_a_name_on_the_allow_list_may_be_called(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_handler(_echo)
    door = http.Door([f"localhost:{httpserver.port}"])

    response = _fetch(door, f"http://localhost:{httpserver.port}/")

    assert isinstance(response.body, dict)
    assert response.status == 200
    assert response.body["headers"]["host"] == f"localhost:{httpserver.port}"  # type: ignore[index,call-overload]
    door.close()


def test_no_proxy_of_the_environment_is_used(
    door: http.Door, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    httpserver.expect_request("/").respond_with_data("direct")

    assert _fetch(door, httpserver.url_for("/")).body == "direct"


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Bad Name", "A:"])
def test_headers_that_steer_the_connection_are_refused(door: http.Door, name: str) -> None:
    error = _failure(door, "http://127.0.0.1:1/", headers={name: "x"})

    assert error.error_class is ErrorClass.PERMANENT


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\x00", " a", "日本"])
def test_headers_that_break_the_protocol_are_refused(door: http.Door, value: str) -> None:
    error = _failure(door, "http://127.0.0.1:1/", headers={"X-A": value})

    assert error.error_class is ErrorClass.PERMANENT


# Redirects


def _redirect(httpserver: HTTPServer, path: str, target: str, status: int = 302) -> None:
    httpserver.expect_request(path).respond_with_data(status=status, headers={"Location": target})


def test_redirects_are_followed_and_keep_credentials_on_the_same_host(
    door: http.Door, httpserver: HTTPServer
) -> None:
    _redirect(httpserver, "/a", "/b?x=1")
    httpserver.expect_request("/b").respond_with_handler(_echo)

    body = _fetch(door, httpserver.url_for("/a"), headers={"X-Api-Key": "k"}).body

    assert isinstance(body, dict)
    assert body["headers"]["x-api-key"] == "k"  # type: ignore[index,call-overload]
    assert body["query"] == {"x": ["1"]}


def test_another_host_gets_no_credentials(httpserver: HTTPServer) -> None:
    door = http.Door(["127.0.0.1", "localhost"])
    _redirect(httpserver, "/a", f"http://localhost:{httpserver.port}/b")
    httpserver.expect_request("/b").respond_with_handler(_echo)
    secrets = {"Authorization": "Bearer k", "X-Api-Key": "k", "Cookie": "c=k", "X-Request-ID": "r"}

    body = _fetch(door, f"http://127.0.0.1:{httpserver.port}/a", headers=secrets).body

    assert isinstance(body, dict)
    headers = body["headers"]
    assert isinstance(headers, dict)
    assert not {"authorization", "x-api-key", "cookie"} & set(headers)
    assert headers["x-request-id"] == "r"
    assert headers["host"] == f"localhost:{httpserver.port}"
    door.close()


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [(302, "GET", ""), (303, "GET", ""), (307, "POST", "x"), (308, "POST", "x")],
)
def test_a_redirected_post_becomes_what_http_says(
    door: http.Door, httpserver: HTTPServer, status: int, method: str, body: str
) -> None:
    _redirect(httpserver, "/a", "/b", status)
    httpserver.expect_request("/b").respond_with_handler(_echo)

    seen = _fetch(door, httpserver.url_for("/a"), method="POST", body=b"x").body

    assert isinstance(seen, dict)
    assert (seen["method"], seen["body"]) == (method, body)


def test_a_redirect_to_a_private_address_is_refused(httpserver: HTTPServer) -> None:
    door = http.Door([f"localhost:{httpserver.port}"])
    _redirect(httpserver, "/a", "http://127.0.0.1:6379/")

    error = _failure(door, f"http://localhost:{httpserver.port}/a")

    assert error.error_class is ErrorClass.PERMANENT
    assert "'127.0.0.1' is a private address" in str(error)
    door.close()


@pytest.mark.parametrize(
    "target", [b"file:///etc/passwd", b"ftp://host/", b"http://a:b/", b"http://[/"]
)
def test_a_redirect_to_no_web_address_is_a_permanent_error(door: http.Door, target: bytes) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: " + target + b"\r\nContent-Length: 0\r\n\r\n"

    with hostile(exactly(answer)) as server:
        assert _failure(door, server.url).error_class is ErrorClass.PERMANENT


def test_a_redirect_loop_ends_after_three(door: http.Door, httpserver: HTTPServer) -> None:
    _redirect(httpserver, "/a", "/a")

    error = _failure(door, httpserver.url_for("/a"))

    assert error.error_class is ErrorClass.PERMANENT
    assert len(httpserver.log) == 4


def test_redirects_may_be_left_alone(door: http.Door, httpserver: HTTPServer) -> None:
    _redirect(httpserver, "/a", "/b")

    output = _run(door, _context(httpserver.url_for("/a"), follow_redirects=False))

    assert (output["status"], output["headers"]["location"]) == (302, "/b")


# Peers that mean ill, or are ill (fault test F14)


@pytest.mark.parametrize(
    ("beginning", "byte"),
    [
        pytest.param(b"", b"H", id="status line"),
        pytest.param(OK + b"X: ", b"x", id="header"),
        pytest.param(OK + b"Content-Length: 9999\r\n\r\n", b"x", id="body"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1", id="chunk size"),
        pytest.param(OK + b"\r\n", b"x", id="body without length"),
    ],
)
def test_a_slow_peer_is_left_at_the_deadline(
    door: http.Door, beginning: bytes, byte: bytes
) -> None:
    with hostile(drip(beginning, byte)) as server:
        error = _failure(door, server.url, timeout=0.6)

    assert error.error_class is ErrorClass.TIMEOUT


def test_a_peer_that_says_nothing_is_left_at_the_deadline_of_the_execution(
    door: http.Door,
) -> None:
    with (
        hostile(drip(b"", b"")) as server,
        pytest.raises((HandlerError, DeadlineExceeded)) as caught,
    ):
        _run(door, _context(server.url, seconds=0.6))

    assert caught.value.error_class is ErrorClass.TIMEOUT


def _answer_once_then_read_nothing(client: socket.socket, over: threading.Event) -> None:
    client.sendall(OK + b"Content-Length: 2\r\n\r\nok")
    over.wait(30)


@pytest.mark.parametrize("calls_before", [0, 1])
def test_a_peer_that_reads_nothing_is_left_at_the_deadline(
    door: http.Door, calls_before: int
) -> None:
    more_than_any_buffer = bytes(64 * 1024 * 1024)
    with hostile(_answer_once_then_read_nothing) as server:
        for _ in range(calls_before):
            _fetch(door, server.url)
        error = _failure(door, server.url, timeout=0.6, method="POST", body=more_than_any_buffer)

    assert error.error_class is ErrorClass.TIMEOUT


def test_a_cancelled_call_ends_while_it_sends(door: http.Door) -> None:
    running: list[TestContext[HttpRequestConfig]] = []

    def read_a_little_and_cancel(client: socket.socket, over: threading.Event) -> None:
        running[0].is_cancelled = True
        over.wait(30)

    with hostile(read_a_little_and_cancel) as server:
        running.append(_context(server.url, method="POST", body="x" * 64 * 1024 * 1024))

        with pytest.raises(Cancelled):
            _run(door, running[0])


def test_the_time_limit_of_the_config_holds(door: http.Door) -> None:
    with hostile(drip(b"", b"")) as server, pytest.raises(HandlerError) as caught:
        _run(door, _context(server.url, timeout_ms=300))

    assert caught.value.error_class is ErrorClass.TIMEOUT


def test_a_cancelled_call_ends_while_it_waits(door: http.Door) -> None:
    with hostile(drip(b"", b"")) as server:
        context = _context(server.url)
        threading.Timer(0.2, lambda: setattr(context, "is_cancelled", True)).start()

        with pytest.raises(Cancelled):
            _run(door, context)


@pytest.mark.parametrize(
    ("beginning", "chunk", "error_class"),
    [
        pytest.param(OK, b"X: y\r\n" * 1000, ErrorClass.MALFORMED, id="endless headers"),
        pytest.param(OK + b"X: ", b"x" * 65536, ErrorClass.MALFORMED, id="endless header"),
        pytest.param(b"", b"H" * 65536, ErrorClass.MALFORMED, id="endless status line"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", b"x" * 9, ErrorClass.MALFORMED, id="no HTTP"),
        pytest.param(
            b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, ErrorClass.MALFORMED, id="endless 100"
        ),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\n\r\n",
            b"1" * 65536,
            ErrorClass.MALFORMED,
            id="endless chunk size",
        ),
    ],
)
def test_an_answer_without_end_is_a_typed_error(
    door: http.Door, beginning: bytes, chunk: bytes, error_class: ErrorClass
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with hostile(flood(beginning, chunk)) as server:
        error = _failure(door, server.url)

    assert error.error_class is error_class
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


@pytest.mark.parametrize(
    "headers",
    [b"Content-Length: 5000000000\r\n", b"", b"Content-Type: application/json\r\n"],
)
def test_a_huge_body_is_cut_and_marked(door: http.Door, headers: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with hostile(flood(OK + headers + b"\r\n", b"x" * 65536)) as server:
        response = _fetch(door, server.url)

    assert response.truncated
    assert response.body == "x" * CAP
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def _zeros_zipped_twice(*, megabytes: int) -> bytes:
    once = zlib.compressobj(wbits=31)
    zipped = b"".join(once.compress(bytes(1024 * 1024)) for _ in range(megabytes))
    return gzip.compress(zipped + once.flush())


def test_a_decompression_bomb_is_cut_and_marked(door: http.Door) -> None:
    bomb = _zeros_zipped_twice(megabytes=500)
    beginning = OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with hostile(exactly(beginning + bomb)) as server:
        response = _fetch(door, server.url)

    assert response.truncated
    assert response.body == "\0" * CAP
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_a_body_that_is_not_in_its_stated_coding_is_malformed(door: http.Door) -> None:
    answer = OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"

    with hostile(exactly(answer)) as server:
        assert _failure(door, server.url).error_class is ErrorClass.MALFORMED


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(OK[:9], id="half a status line"),
        pytest.param(OK + b"Content-Length: 100\r\n\r\nhello", id="half a body"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", id="half a chunk"),
    ],
)
def test_a_connection_that_breaks_is_worth_another_try(door: http.Door, answer: bytes) -> None:
    with hostile(exactly(answer)) as server:
        error = _failure(door, server.url)

    assert error.error_class in {ErrorClass.TRANSIENT, ErrorClass.MALFORMED}
    if answer != OK[:9]:
        assert error.error_class is ErrorClass.TRANSIENT


def test_a_reset_connection_is_worth_another_try_and_is_tried_once(door: http.Door) -> None:
    def reset(client: socket.socket, over: threading.Event) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with hostile(reset) as server:
        error = _failure(door, server.url)
        assert server.connections == 1

    assert error.error_class is ErrorClass.TRANSIENT


def test_a_closed_port_and_an_unknown_name_are_worth_another_try(door: http.Door) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    refused = _failure(door, f"http://127.0.0.1:{port}/x?token=hunter2")
    unknown = _failure(door, "http://no-such-host.invalid/")

    assert refused.error_class is unknown.error_class is ErrorClass.TRANSIENT
    assert str(refused).endswith(f"{port}/x failed: no connection: Connection refused")


CERTIFICATE = Path(__file__).with_name("localhost.pem")  # of localhost, signed by itself


@contextmanager
def _tls_server() -> Iterator[HTTPServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with HTTPServer(host="127.0.0.1", ssl_context=context) as server:
        server.expect_request("/").respond_with_data("secure")
        yield server


def test_a_certificate_nobody_vouches_for_is_a_permanent_error(door: http.Door) -> None:
    with _tls_server() as server:
        error = _failure(door, f"https://localhost:{server.port}/")

    assert error.error_class is ErrorClass.PERMANENT
    assert "certificate" in str(error)


def test_a_certificate_counts_for_the_name_and_not_for_the_pinned_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    door = http.Door(["127.0.0.1"])

    with _tls_server() as server:
        bodies = [_fetch(door, f"https://localhost:{server.port}/").body for _ in range(2)]
        other_name = _failure(door, f"https://127.0.0.1:{server.port}/")
        door.close()

    assert bodies == ["secure", "secure"]
    assert other_name.error_class is ErrorClass.PERMANENT


def test_plain_text_on_a_tls_port_is_a_typed_error(door: http.Door) -> None:
    with hostile(exactly(b"hello, no TLS here")) as server:
        error = _failure(door, server.url.replace("http:", "https:"))

    assert error.error_class is ErrorClass.TRANSIENT
    assert "TLS" in str(error)


def test_a_hundred_calls_wait_beside_each_other(door: http.Door) -> None:
    arrived = threading.Semaphore(0)
    everybody = threading.Event()

    def answer(client: socket.socket, over: threading.Event) -> None:
        arrived.release()
        everybody.wait(10)
        client.sendall(OK + b"Content-Length: 2\r\n\r\nok")

    bodies: list[object] = []
    with hostile(answer) as server:
        calls = [
            threading.Thread(target=lambda: bodies.append(_fetch(door, server.url).body))
            for _ in range(100)
        ]
        for call in calls:
            call.start()
        ends = time.monotonic() + 10
        for _ in calls:
            assert arrived.acquire(timeout=max(0.0, ends - time.monotonic()))
        everybody.set()
        for call in calls:
            call.join(10)

    assert bodies == ["ok"] * 100
