"""Every way to be refused, and the one shape in which it is said."""

from __future__ import annotations

from io import BytesIO

import pytest
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIRequest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from executions_app import tokens
from scheduler_app.api.views import Schedules
from tests.factories import UserFactory
from tests.rest import signed_in

SCHEDULES = "/api/scheduler/schedules"
MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}


@pytest.fixture
def person(db: None) -> User:
    return UserFactory.create()


@pytest.fixture
def caller(person: User) -> APIClient:
    return signed_in(person)


@pytest.fixture
def fragile(settings: Settings, caller: APIClient) -> APIClient:
    """A caller of URLs that fail; the exception is not raised into the test."""
    settings.ROOT_URLCONF = "tests.api.failing"
    caller.raise_request_exception = False
    return caller


def post(caller: APIClient, body: bytes, media_type: str = "application/json") -> tuple[int, str]:
    answer = caller.post(SCHEDULES, body, content_type=media_type)
    problem = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    assert set(problem) == MEMBERS
    assert problem["status"] == answer.status_code
    return answer.status_code, problem["code"]


def test_a_problem_says_what_where_and_under_which_id(caller: APIClient) -> None:
    answer = caller.post(SCHEDULES, {"name": "x"}, HTTP_X_REQUEST_ID="req-7")

    problem = answer.json()
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert set(problem) == MEMBERS
    assert problem["type"] == "urn:cadenza:problem:validation_error"
    assert (problem["title"], problem["status"]) == ("Bad Request", 400)
    assert (problem["instance"], problem["request_id"]) == (SCHEDULES, "req-7")
    assert [error["pointer"] for error in problem["errors"]] == ["/task_type"]
    assert answer["X-Request-ID"] == "req-7"


def test_who_says_nothing_of_themselves_is_asked_to(db: None) -> None:
    answer = APIClient().get(SCHEDULES)

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize("token", ["cdz_nonsense", "", "x" * 9000, "cdz_\xff"])
def test_a_token_that_is_none_is_refused(db: None, token: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

    answer = client.get(SCHEDULES)

    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed")


@pytest.mark.parametrize(
    "path", ["/api/nowhere", "/api/scheduler/schedules/", "/api/errors/errors/7"]
)
def test_a_path_that_is_none_is_not_found(caller: APIClient, path: str) -> None:
    answer = caller.get(path)

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert set(answer.json()) == MEMBERS
    assert answer["X-Request-ID"] == answer.json()["request_id"]


def test_a_method_that_is_none_is_refused_with_those_that_are(caller: APIClient) -> None:
    answer = caller.delete(SCHEDULES)

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "POST" in answer["Allow"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"name":', 400, "parse_error"),
        (b"[1]", 400, "parse_error"),
        (b"\xff\xfe", 400, "parse_error"),
        (b'{"name": NaN}', 400, "parse_error"),
        (b'{"name": 1e999}', 400, "parse_error"),
        (b'{"name": 99999999999999999999}', 400, "parse_error"),
        (b'{"name": "a\\u0000b"}', 400, "parse_error"),
        (b'{"name": "a\\ud800b"}', 400, "parse_error"),
        (b'{"a\\u0000": 1}', 400, "parse_error"),
        (b'{"task_type": "x", "taskType": "y"}', 400, "parse_error"),
        (b'{"name": ' + b"[" * 100_000, 400, "parse_error"),
        (b'{"name": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "parse_error"),
        (b'{"name": ' + b"9" * 5_000 + b"}", 400, "parse_error"),
        (b'{"name": "' + b"x" * 2**20 + b'"}', 413, "too_large"),
    ],
)
def test_a_body_that_cannot_be_kept_is_refused(
    caller: APIClient, body: bytes, status: int, code: str
) -> None:
    assert post(caller, body) == (status, code)


def test_a_body_that_is_sent_in_chunks_is_read(person: User) -> None:
    _, plain = tokens.create(person, name="tests", now=timezone.now())
    headers = {
        "authorization": f"Bearer {plain}",
        "content-type": "application/json",
        "transfer-encoding": "chunked",
    }
    scope = {
        "type": "http",
        "method": "POST",
        "path": SCHEDULES,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    answer = Schedules.as_view()(ASGIRequest(scope, BytesIO(b'{"name": "x"}')))

    assert [error["pointer"] for error in answer.data["errors"]] == ["/task_type"]


def test_another_media_type_is_refused(caller: APIClient) -> None:
    assert post(caller, b"name=x", "application/x-www-form-urlencoded") == (
        415,
        "unsupported_media_type",
    )


def test_what_nobody_foresaw_tells_nothing_of_itself(fragile: APIClient) -> None:
    answer = fragile.get("/api/failing/bug")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert b"hunter2" not in answer.content
    assert b"ZeroDivision" not in answer.content


@pytest.mark.parametrize("service", ["database", "redis", "outside"])
def test_a_service_that_is_away_asks_for_patience(fragile: APIClient, service: str) -> None:
    answer = fragile.get(f"/api/failing/{service}")

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Retry-After"] == "5"
    assert answer["Content-Type"] == "application/problem+json"
    assert b"10.0.0" not in answer.content


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [("race", 409, "conflict"), ("refused", 409, "conflict"), ("gone", 404, "not_found")],
)
def test_what_the_product_raises_on_purpose_has_its_status(
    fragile: APIClient, failure: str, status: int, code: str
) -> None:
    answer = fragile.get(f"/api/failing/{failure}")

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_session_may_read_and_needs_its_csrf_token_to_write(person: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(person)

    read = client.get(SCHEDULES)
    written = client.post(SCHEDULES, "{}", content_type="application/json")

    assert read.status_code == 200
    assert (written.status_code, written.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("given", ["", "x" * 200, "two words", "<script>"])
def test_a_request_id_that_is_not_plain_is_replaced(caller: APIClient, given: str) -> None:
    first = caller.get(SCHEDULES, HTTP_X_REQUEST_ID=given)["X-Request-ID"]
    second = caller.get(SCHEDULES, HTTP_X_REQUEST_ID=given)["X-Request-ID"]

    assert given != first != second
    assert len(first) == 36


@pytest.mark.parametrize("key", ["", "x" * 256, "zwölf"])
def test_an_idempotency_key_is_short_and_plain(caller: APIClient, key: str) -> None:
    answer = caller.post(SCHEDULES, {}, HTTP_IDEMPOTENCY_KEY=key)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
