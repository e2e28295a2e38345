"""How calls of a model fail, wait, and are left: against a real server that does each of it."""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from agents_app.clients import llm, llm_form, llm_transport
from errors_app.taxonomy import Cancelled, DeadlineExceeded, ErrorClass, LeaseLost
from executions_app import encryption
from executions_app.scrub import SCRUBBED
from executions_app.states import SchedulerException
from tests.agents_app.asking import (
    KEY,
    calls,
    failure,
    provider_at,
    provider_of,
    question,
    settings,
)
from tests.agents_app.hostile import drip, exactly, flood, hostile
from tests.fakes.model_script import (
    Asked,
    Point,
    Reply,
    closes,
    fails,
    hangs,
    resets,
    says,
)
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db
POINTS: tuple[Point, ...] = ("headers", "token", "stream")
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    llm_form.manners.forget()
    monkeypatch.setattr(llm, "FIRST_WAIT_SECONDS", 0.02)
    with model_server() as server:
        yield server


# Statuses


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 529])
def test_what_may_pass_is_tried_three_times_at_most(server: ModelServer, status: int) -> None:
    server.on("plan", fails(status))

    error = failure(question(provider_of(server)))

    assert error.error_class is ErrorClass.TRANSIENT
    assert str(status) in str(error)
    assert server.count() == 3
    rows = calls()
    assert [(one.status, one.failure_class) for one in rows] == [("failed", "transient")] * 3
    assert {(one.prompt_tokens, one.cost_usd) for one in rows} == {(0, Decimal(0))}
    assert error.call_id == rows[-1].id


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 422])
def test_what_cannot_pass_is_asked_once(server: ModelServer, status: int) -> None:
    server.on("plan", fails(status, "no"))

    error = failure(question(provider_of(server)))

    assert error.error_class is ErrorClass.PERMANENT
    assert (server.count(), len(calls())) == (1, 1)


def test_a_failure_that_passes_is_not_seen(server: ModelServer) -> None:
    server.on("plan", fails(503), resets("headers"), says("at last"))

    answer = llm.ask(question(provider_of(server)))

    assert answer.text == "at last"
    assert [one.status for one in calls()] == ["failed", "failed", "ok"]


def test_an_unpaid_account_is_not_asked_again(server: ModelServer) -> None:
    server.on("plan", fails(429, "You exceeded your quota", code="insufficient_quota"))

    error = failure(question(provider_of(server)))

    assert (error.error_class, server.count()) == (ErrorClass.PERMANENT, 1)


def test_a_redirect_is_not_followed(server: ModelServer) -> None:
    location = f"{server.url}/elsewhere".encode()
    moved = b"HTTP/1.1 307 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location
    server.on("plan", Reply(raw=moved))

    error = failure(question(provider_of(server)))

    assert (error.error_class, server.count()) == (ErrorClass.PERMANENT, 1)
    assert "final address" in str(error)


# Retry-After


def test_retry_after_is_waited_for(server: ModelServer) -> None:
    server.on("plan", fails(429, retry_after=1), says("thanks for waiting"))

    answer = llm.ask(question(provider_of(server)))

    first, second = server.asked()
    assert answer.text == "thanks for waiting"
    assert second.at - first.at >= 1


@pytest.mark.parametrize("wait", [3600, "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_wait_beyond_the_deadline_is_left_to_the_caller(
    server: ModelServer, wait: object
) -> None:
    server.on("plan", fails(429, retry_after=wait))

    error = failure(question(provider_of(server)))

    assert server.count() == 1
    assert error.retry_after is not None
    assert error.retry_after >= 3600


def test_waiting_for_the_next_try_can_be_stopped(server: ModelServer) -> None:
    server.on("plan", fails(503, retry_after=15))

    def check() -> None:
        if calls():
            raise Cancelled("asked to stop")

    with pytest.raises(Cancelled):
        llm.ask(question(provider_of(server), check=check))

    assert server.count() == 1


# Silence


@pytest.mark.parametrize("point", POINTS)
def test_a_call_that_hangs_is_left_at_once_when_its_execution_has_to_stop(
    server: ModelServer, point: Point
) -> None:
    server.on("plan", hangs(point))
    looks_while_it_hangs: list[float] = []

    def check() -> None:
        if server.count() and server.asked()[0].hangs.is_set():
            looks_while_it_hangs.append(time.monotonic())
            if len(looks_while_it_hangs) > 1:  # between the two, what came before was read
                raise Cancelled("asked to stop")

    with pytest.raises(Cancelled):
        llm.ask(question(provider_of(server), check=check))

    (row,) = calls()
    assert server.asked()[0].left.wait(10)  # the connection was closed
    assert (row.status, row.failure_class) == ("failed", "cancelled")
    assert row.is_estimated
    assert row.prompt_tokens > 0
    assert row.response == ("half of " if point == "stream" else "")


@pytest.mark.parametrize(
    ("error", "failure_class"),
    [(DeadlineExceeded("too late"), "timeout"), (LeaseLost("gone"), "lost")],
)
def test_what_the_check_raises_is_what_the_caller_gets(
    server: ModelServer, error: SchedulerException, failure_class: str
) -> None:
    server.on("plan", hangs("headers"))

    def check() -> None:
        if server.count() and server.asked()[0].hangs.is_set():
            raise error

    with pytest.raises(type(error)) as caught:
        llm.ask(question(provider_of(server), check=check))

    assert caught.value is error
    assert calls()[0].failure_class == failure_class


def test_a_question_that_must_stop_before_it_begins_sends_nothing(server: ModelServer) -> None:
    def check() -> None:
        raise Cancelled("asked to stop")

    with pytest.raises(Cancelled):
        llm.ask(question(provider_of(server), check=check))

    assert server.count() == 0
    assert calls()[0].prompt_tokens == 0


@pytest.mark.parametrize("point", ["headers", "token"])
def test_a_model_that_does_not_begin_is_left_after_its_time(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, point: Point
) -> None:
    settings(monkeypatch, llm_first_token_seconds=0.3)
    server.on("plan", hangs(point))

    error = failure(question(provider_of(server)))

    assert error.error_class is ErrorClass.TIMEOUT
    assert "LLM_FIRST_TOKEN_SECONDS" in str(error)
    assert server.count() == 1  # the time is spent: whoever asks has other ways
    assert server.asked()[0].left.wait(10)


def test_a_model_that_has_begun_may_take_longer_than_the_first_token(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(monkeypatch, llm_first_token_seconds=0.3)
    server.on("plan", hangs("stream"))
    asked = question(provider_of(server), deadline=time.monotonic() + 1.2)

    error = failure(asked)

    assert error.error_class is ErrorClass.TIMEOUT
    assert "did not end" in str(error)
    assert calls()[0].response == "half of "


def test_a_provider_that_refuses_streams_may_begin_late(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(monkeypatch, llm_first_token_seconds=0.3)
    server.refuses = {"stream"}
    server.on("plan", says("late", delay_ms=900))

    assert llm.ask(question(provider_of(server))).text == "late"


def test_the_time_of_one_answer_ends_a_call_whatever_the_deadline(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(monkeypatch, llm_timeout_seconds=0.5, llm_first_token_seconds=5)
    server.on("plan", hangs("headers"))

    assert failure(question(provider_of(server))).error_class is ErrorClass.TIMEOUT


def test_a_deadline_that_has_passed_sends_nothing(server: ModelServer) -> None:
    error = failure(question(provider_of(server), deadline=time.monotonic() - 1))

    assert error.error_class is ErrorClass.TIMEOUT
    assert server.count() == 0


# Broken connections


@pytest.mark.parametrize("point", POINTS)
def test_a_reset_connection_is_tried_again(server: ModelServer, point: Point) -> None:
    server.on("plan", resets(point), says("again"))

    answer = llm.ask(question(provider_of(server)))

    failed, answered = calls()
    assert answer.text == "again"
    assert (failed.failure_class, answered.status) == ("transient", "ok")
    assert failed.is_estimated
    assert answer.spent_tokens == sum(one.prompt_tokens + one.completion_tokens for one in calls())


def test_an_answer_that_ends_in_the_middle_is_no_answer(server: ModelServer) -> None:
    server.on("plan", closes("stream"))

    error = failure(question(provider_of(server)))

    assert error.error_class is ErrorClass.TRANSIENT
    assert server.count() == 3
    assert {one.response for one in calls()} == {"half of "}


def test_a_stream_that_ends_without_its_last_event_is_no_answer() -> None:
    raw = EVENTS + b'data: {"choices": [{"delta": {"content": "half of"}}]}\n\n'
    with hostile(exactly(raw)) as peer:
        error = failure(question(provider_at(peer.url), deadline=time.monotonic() + 0.5))

    assert error.error_class is ErrorClass.TRANSIENT
    assert calls()[0].response == "half of"


def test_a_stream_that_names_no_reason_is_an_answer_if_it_says_that_it_is_over() -> None:
    raw = EVENTS + b'data: {"choices": [{"delta": {"content": "whole"}}]}\n\ndata: [DONE]\n\n'
    with hostile(exactly(raw)) as peer:
        assert llm.ask(question(provider_at(peer.url))).text == "whole"


def test_nobody_there_costs_no_tokens() -> None:
    with model_server() as gone:
        url = gone.url
    error = failure(question(provider_at(url), deadline=time.monotonic() + 0.5))

    assert error.error_class is ErrorClass.TRANSIENT
    assert {(one.prompt_tokens, one.is_estimated) for one in calls()} == {(0, False)}


# Hostile answers


@pytest.mark.parametrize(
    "raw",
    [
        JSON + b"null",
        JSON + b"[]",
        JSON + b'{"choices": 5}',
        JSON + b'{"choices": [{"message": {"content": {"a": 1}}}]}',
        JSON + b"<html>Sign in</html>",
        JSON + b"\xff\xfe\x00",
        JSON + b"[" * 100_000,
        EVENTS + b"data: {not json\n\n",
        EVENTS + b"data: 5\n\ndata: [DONE]\n\n",
        EVENTS + b'data: {"choices": [[]]}\n\ndata: [DONE]\n\n',
        EVENTS + b'data: {"choices": [{"delta": 7}], "usage": "much"}\n\ndata: [DONE]\n\n',
        EVENTS + b"data: \xff\n\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ],
)
def test_what_is_no_chat_completion_is_malformed(raw: bytes) -> None:
    with hostile(exactly(raw)) as peer:
        error = failure(question(provider_at(peer.url)))

    assert error.error_class is ErrorClass.MALFORMED
    assert len(calls()) == 1


def test_an_error_in_the_middle_of_a_stream_is_told() -> None:
    raw = EVENTS + b'data: {"error": {"message": "overloaded, try later"}}\n\n'
    with hostile(exactly(raw)) as peer:
        error = failure(question(provider_at(peer.url), deadline=time.monotonic() + 0.5))

    assert error.error_class is ErrorClass.TRANSIENT
    assert "overloaded" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        flood(EVENTS, b'data: {"choices": [{"delta": {"content": "aaaaaaaaaaaaa"}}]}\n\n' * 100),
        flood(EVENTS, b"a" * 65536),
        flood(JSON, b"[" * 65536),
        flood(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n" * 500),
    ],
)
def test_an_answer_without_end_is_given_up(answer: object) -> None:
    with hostile(answer) as peer:  # type: ignore[arg-type]
        error = failure(question(provider_at(peer.url)))

    assert error.error_class is ErrorClass.MALFORMED
    (row,) = calls()
    assert len(row.response) <= 64 * 1024


def test_a_peer_that_only_keeps_the_connection_alive_has_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings(monkeypatch, llm_first_token_seconds=0.5)
    with hostile(drip(EVENTS, b": still here\n\n")) as peer:
        error = failure(question(provider_at(peer.url)))

    assert error.error_class is ErrorClass.TIMEOUT


def test_a_body_that_unpacks_to_more_than_is_taken_is_given_up() -> None:
    packed = gzip.compress(b"[" * (llm_transport.MOST_BYTES * 4))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    raw = head + b"Content-Length: %d\r\n\r\n" % len(packed) + packed
    with hostile(exactly(raw)) as peer:
        error = failure(question(provider_at(peer.url)))

    assert "longer than" in str(error)


# Keys


def test_a_key_is_stored_and_logged_nowhere(
    server: ModelServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)

    def repeats_the_key(asked: Asked) -> Reply:
        seen = asked.headers["authorization"]
        if server.count() == 1:
            return fails(401, f"{seen} is no good; you sent {KEY}")
        return says(f"I was sent {seen}")

    server.on("plan", repeats_the_key)
    provider = provider_of(server)

    error = failure(question(provider, f"my key is {KEY}"))
    answer = llm.ask(question(provider, f"my key is {KEY}"))

    assert KEY in answer.text  # what the model says is the caller's to judge
    assert KEY not in str(error)
    assert SCRUBBED in str(error)
    for row in calls():
        assert KEY not in str(vars(row))
    assert KEY not in caplog.text
    assert "What now" not in caplog.text


def test_a_rotated_key_is_used_at_once(server: ModelServer) -> None:
    provider = provider_of(server)
    llm.ask(question(provider))
    assert provider.credential is not None
    provider.credential.value = encryption.encrypt("another-key")
    provider.credential.save()

    llm.ask(question(provider))

    assert [one.headers["authorization"] for one in server.asked()] == [
        f"Bearer {KEY}",
        "Bearer another-key",
    ]


def test_checks_come_at_least_once_a_second_while_a_call_hangs(server: ModelServer) -> None:
    server.on("plan", hangs("headers"))
    looks: list[float] = []

    def check() -> None:
        looks.append(time.monotonic())
        if len(looks) > 4:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        llm.ask(question(provider_of(server), check=check))

    assert len(looks) == 5
