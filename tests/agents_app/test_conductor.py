from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from agents_app import runner
from agents_app.clients import conductor
from agents_app.clients.conductor import ConductorClient
from agents_app.clients.conductor_errors import (
    AnswerTooLarge,
    ConductorAway,
    ConductorError,
    ConductorMalformed,
    ConductorRefused,
    ConductorTimeout,
    TaskFailed,
    ThreadUnknown,
)
from agents_app.clients.conductor_shapes import Message
from agents_app.handlers import conductor as conductor_handler
from agents_app.handlers import registry
from agents_app.handlers.base import Outcome
from agents_app.handlers.conductor import ConductorConfig, ConductorTask
from config.env import Env, env
from errors_app.taxonomy import Cancelled, DeadlineExceeded, ErrorClass, LeaseLost
from executions_app import lifecycle
from executions_app.states import ExecutionStatus
from tests.agents_app.context import TestContext
from tests.agents_app.scripted import Queue, in_the_background, stored
from tests.fakes.conductor_server import ConductorServer, conductor_server

PATIENCE_SECONDS = 20.0


@pytest.fixture
def server() -> Iterator[ConductorServer]:
    with conductor_server() as server:
        yield server


@pytest.fixture
def client(server: ConductorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConductorClient]:
    monkeypatch.setattr(conductor, "BASE_MS", 1)
    door = conductor.door_to(server.url)
    yield ConductorClient(server.url, timeout_ms=20_000, door=door, rng=random.Random(7))
    door.close()


def _message(**given: Any) -> Message:
    words = {"content": "do it", "execution_id": uuid4(), "timeout_ms": 20_000, **given}
    return Message(**words)


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.01)


# The three calls


def test_a_task_is_a_message_in_a_thread(server: ConductorServer, client: ConductorClient) -> None:
    message = _message(parameters={"region": "eu"}, attempt=2)

    thread = client.execute_task("thread-1", message, key="key-1")

    (seen,) = server.asked
    assert (seen.method, seen.path) == ("POST", "/api/threads/thread-1/messages")
    assert seen.headers["idempotency-key"] == "key-1"
    assert seen.body == {
        "content": "do it",
        "parameters": {"region": "eu"},
        "executionId": str(message.execution_id),
        "attempt": 2,
        "timeoutMs": 20_000,
    }
    assert (thread.thread_id, thread.status, thread.is_over) == ("thread-1", "completed", True)
    assert thread.output == {"said": "done"}


def test_the_status_of_a_thread_is_asked_for(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.looks = 2
    taken = client.execute_task("t", _message(), key="k")

    found = [client.get_thread_status("t").status for _ in range(2)]

    assert (taken.status, found) == ("running", ["running", "completed"])
    assert (server.asked[-1].method, server.asked[-1].path) == ("GET", "/api/threads/t")


def test_a_thread_is_cancelled_and_what_is_over_needs_no_cancelling(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.looks = 9
    execution_id = uuid4()
    client.execute_task("t", _message(), key="k")

    first = client.cancel_thread("t", execution_id=execution_id, reason="enough")
    again = client.cancel_thread("t", execution_id=execution_id)
    unknown = client.cancel_thread("nobody", execution_id=execution_id)

    assert first is not None
    assert (first.status, again, unknown) == ("cancelled", None, None)
    seen = server.cancellations()[0]
    assert (seen.method, seen.path) == ("POST", "/api/threads/t/cancel")
    assert seen.body == {"executionId": str(execution_id), "reason": "enough"}


# Failures


def test_after_three_failures_the_fourth_try_succeeds(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.fail(2)
    server.fail(1, 0)

    thread = client.execute_task("t", _message(), key="k")

    assert thread.status == "completed"
    assert [one.headers["idempotency-key"] for one in server.asked] == ["k"] * 4


def test_four_failures_are_an_error(server: ConductorServer, client: ConductorClient) -> None:
    server.fail(5, 500, body={"error": {"code": "boom", "message": "out of order"}})

    with pytest.raises(ConductorAway, match="answered 500: out of order") as caught:
        client.execute_task("t", _message(), key="k")

    assert len(server.asked) == 4
    assert caught.value.context["attempts"] == 4
    assert caught.value.error_class is ErrorClass.TRANSIENT


def test_the_waits_between_tries_double(server: ConductorServer) -> None:
    client = ConductorClient(
        server.url, timeout_ms=1, door=conductor.door_to(server.url), rng=random.Random(7)
    )
    error = ConductorAway("away", error_class=ErrorClass.TRANSIENT)

    waits = [client._wait(error, attempt=attempt) for attempt in (1, 2, 3, 4)]

    assert waits[3] is None
    for number, wait in enumerate(waits[:3]):
        assert wait is not None
        assert 0 <= wait <= 0.5 * 2**number


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, {"error": {"code": "bad", "message": "no content"}}, ConductorRefused, "no content"),
        (401, {"error": "who are you"}, ConductorRefused, "who are you"),
        (404, {"message": "no such thread"}, ThreadUnknown, "no such thread"),
        (422, ["odd"], ConductorRefused, "422"),
    ],
)
def test_what_it_refuses_is_typed_and_not_tried_again(
    server: ConductorServer, client: ConductorClient, status: int, body: Any, kind: Any, said: str
) -> None:
    server.fail(1, status, body=body)

    with pytest.raises(kind, match=said) as caught:
        client.get_thread_status("t")

    assert type(caught.value) is kind
    assert caught.value.error_class is ErrorClass.PERMANENT
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b'{"threadId": "t", "status": "bored"}'])
def test_an_answer_that_is_none_is_malformed(
    server: ConductorServer, client: ConductorClient, body: bytes
) -> None:
    server.body = body

    with pytest.raises(ConductorMalformed) as caught:
        client.get_thread_status("t")

    assert caught.value.error_class is ErrorClass.MALFORMED
    assert len(server.asked) == 1


def test_an_answer_longer_than_a_stored_result_is_read_to_its_end(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.output = "x" * (env.result_max_bytes + 40_000)

    thread = client.execute_task("t", _message(), key="k")

    assert (thread.status, thread.output) == ("completed", server.output)


def test_an_answer_without_measure_is_given_up_by_its_size(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.output = "x" * conductor.MOST_ANSWER_BYTES

    with pytest.raises(AnswerTooLarge, match=str(conductor.MOST_ANSWER_BYTES)) as caught:
        client.execute_task("t", _message(), key="k")

    assert "RESULT_MAX_BYTES" in str(caught.value)
    assert caught.value.error_class is ErrorClass.MALFORMED
    assert len(server.asked) == 1


def test_a_conductor_that_hangs_is_left_in_time(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.hangs = True

    with pytest.raises(ConductorTimeout, match="did not end within") as caught:
        client.execute_task("t", _message(timeout_ms=1_000), key="k")

    assert caught.value.error_class is ErrorClass.TIMEOUT
    assert len(server.asked) == 1


def test_nobody_there_is_transient() -> None:
    door = conductor.door_to("http://127.0.0.1:1")
    client = ConductorClient("http://127.0.0.1:1", timeout_ms=300, door=door)

    with pytest.raises(ConductorAway, match="was not reached") as caught:
        client.get_thread_status("t")

    assert caught.value.error_class is ErrorClass.TRANSIENT
    door.close()


def test_its_door_leads_to_no_other_private_address(
    server: ConductorServer, client: ConductorClient
) -> None:
    elsewhere = ConductorClient(
        server.url.replace("127.0.0.1", "127.0.0.2"), timeout_ms=1_000, door=client._door
    )

    with pytest.raises(ConductorError, match="private address") as caught:
        elsewhere.get_thread_status("t")

    assert caught.value.error_class is ErrorClass.PERMANENT


@pytest.mark.parametrize("thread_id", ["", "..", "a/b", "a b", "a?x=1", "x" * 201])
def test_an_id_that_would_lead_elsewhere_is_refused(
    server: ConductorServer, client: ConductorClient, thread_id: str
) -> None:
    with pytest.raises(ConductorRefused, match="no id of a thread"):
        client.get_thread_status(thread_id)

    assert server.asked == []


# The settings


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ConductorClient]]:
    """The client of a process that starts in an environment with these settings."""
    made: list[ConductorClient] = []

    def start(**settings: str) -> ConductorClient:
        for name in ("CONDUCTOR_BASE_URL", "CONDUCTOR_TIMEOUT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        read = Env(_env_file=None)
        monkeypatch.setattr(conductor, "env", read)
        monkeypatch.setattr(conductor_handler, "env", read)
        conductor._client_of_process.cache_clear()
        made.append(conductor.client())
        return made[-1]

    yield start
    for one in made:
        one._door.close()
    conductor._client_of_process.cache_clear()


def test_unless_set_the_conductor_is_on_this_machine_and_has_five_minutes(
    configured: Callable[..., ConductorClient],
) -> None:
    client = configured()

    assert client._path("t") == "http://localhost:3001/api/threads/t"
    assert client._timeout_ms == 300_000


def test_the_client_of_a_process_goes_where_the_settings_say_for_as_long_as_they_say(
    server: ConductorServer, configured: Callable[..., ConductorClient]
) -> None:
    client = configured(CONDUCTOR_BASE_URL=f"{server.url}/", CONDUCTOR_TIMEOUT="900")
    server.hangs = True

    with pytest.raises(ConductorTimeout, match=r"within its 0\.\d+ s"):
        client.get_thread_status("t")

    assert [one.path for one in server.asked] == ["/api/threads/t"]
    assert client is conductor.client()


@pytest.mark.parametrize(("given", "most"), [({}, 7_000), ({"timeout_ms": 9_000}, 9_000)])
def test_a_task_has_as_long_as_the_settings_say_unless_it_says_itself(
    server: ConductorServer,
    configured: Callable[..., ConductorClient],
    given: dict[str, int],
    most: int,
) -> None:
    configured(CONDUCTOR_BASE_URL=server.url, CONDUCTOR_TIMEOUT="7000")

    ConductorTask().run(_context(**given))

    (message,) = server.messages()
    assert message.body["timeoutMs"] == most


# The handler


def _context(**given: Any) -> TestContext[ConductorConfig]:
    of_context = {
        name: given.pop(name)
        for name in ("seconds", "parameters", "attempt", "correlation_id")
        if name in given
    }
    return TestContext(ConductorConfig(content="do it", **given), **of_context)


def test_an_execution_is_carried_out_by_a_conductor(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.looks = 2
    context = _context(parameters={"region": "eu"})

    outcome = ConductorTask(client).run(context)

    assert isinstance(outcome, Outcome)
    assert outcome.output == {
        "thread_id": str(context.execution_id),
        "message_id": "message-1",
        "output": {"said": "done"},
    }
    (message,) = server.messages()
    assert message.path == f"/api/threads/{context.execution_id}/messages"
    assert message.headers["idempotency-key"] == f"{context.execution_id}:1"
    assert message.body["parameters"] == {"region": "eu"}


def test_each_call_for_an_execution_names_the_request_it_comes_from(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.looks = 1
    context = _context(correlation_id="from-the-browser")

    ConductorTask(client).run(context)
    ConductorTask(client).cancel(_cancelled(context))
    _until(lambda: len(server.cancellations()) == 1)

    calls = [(one.method, one.headers.get("x-request-id")) for one in server.asked]
    assert calls == [(method, "from-the-browser") for method in ("POST", "GET", "POST")]


@pytest.mark.parametrize("unsendable", ["", "two words", "x" * 201])
def test_without_a_request_that_a_header_can_carry_the_calls_name_the_execution(
    server: ConductorServer, client: ConductorClient, unsendable: str
) -> None:
    server.looks = 1
    context = _context(correlation_id=unsendable)

    ConductorTask(client).run(context)
    ConductorTask(client).cancel(_cancelled(context))
    _until(lambda: len(server.cancellations()) == 1)

    named = [one.headers.get("x-request-id") for one in server.asked]
    assert named == [str(context.execution_id)] * 3


def _cancelled(context: TestContext[ConductorConfig]) -> TestContext[ConductorConfig]:
    context.is_cancelled = True
    return context


@pytest.mark.parametrize(
    ("retryable", "error_class"), [(True, ErrorClass.TRANSIENT), (False, ErrorClass.PERMANENT)]
)
def test_a_task_that_failed_says_why_and_whether_to_try_again(
    server: ConductorServer, client: ConductorClient, *, retryable: bool, error_class: ErrorClass
) -> None:
    server.error = {"code": "no_tool", "message": "no such tool", "retryable": retryable}

    with pytest.raises(TaskFailed, match="no such tool") as caught:
        ConductorTask(client).run(_context(thread_id="t"))

    assert caught.value.error_class is error_class
    assert caught.value.context["code"] == "no_tool"


def test_a_task_that_takes_too_long_is_cancelled(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.looks = 10_000

    with pytest.raises((ConductorTimeout, DeadlineExceeded)):
        ConductorTask(client).run(_context(seconds=0.5))

    _until(lambda: len(server.cancellations()) == 1)


def test_the_hook_cancels_without_waiting_and_once(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.looks = 10_000
    handler, context = ConductorTask(client), _context(thread_id="t")
    caught: list[BaseException] = []

    def work() -> None:
        try:
            handler.run(context)
        except BaseException as error:  # noqa: BLE001  the test looks at it
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    _until(lambda: len(server.asked) >= 2)
    context.is_cancelled = True
    handler.cancel(context)
    thread.join(PATIENCE_SECONDS)
    _until(server.cancelled.is_set)

    assert [type(one) for one in caught] == [Cancelled]
    assert len(server.cancellations()) == 1


def test_the_hook_does_not_wait_for_a_conductor_that_hangs(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.hangs = True
    context = _context(thread_id="t")
    context.is_cancelled = True
    began = time.monotonic()

    ConductorTask(client).cancel(context)

    assert time.monotonic() - began < conductor.CANCEL_SECONDS / 2
    _until(lambda: len(server.cancellations()) == 1)


def test_whoever_lost_the_lease_cancels_nothing(
    server: ConductorServer, client: ConductorClient
) -> None:
    server.looks = 10_000
    handler, context = ConductorTask(client), _context(thread_id="t")

    def check() -> None:
        if len(server.asked) >= 2:
            raise LeaseLost("another worker's")

    context.check = check  # type: ignore[method-assign]
    handler.cancel(context)
    with pytest.raises(LeaseLost):
        handler.run(context)

    assert server.cancellations() == []


@pytest.mark.parametrize("config", [{}, {"content": ""}, {"content": "a", "thread_id": "../x"}])
def test_a_config_that_cannot_be_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(registry.InvalidTaskConfig):
        registry.validate("conductor", config)


@pytest.mark.django_db(transaction=True)
def test_cancelling_the_execution_cancels_the_thread(
    queue: Queue,
    server: ConductorServer,
    client: ConductorClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.looks = 10_000
    monkeypatch.setattr(conductor, "client", lambda: client)
    execution_id = queue(task_type="conductor", task_config={"content": "do it"})
    worker = in_the_background(execution_id)
    _until(lambda: len(server.asked) >= 2)

    lifecycle.cancel(stored(execution_id))
    worker.join(PATIENCE_SECONDS)

    _until(server.cancelled.is_set)
    assert stored(execution_id).status == ExecutionStatus.CANCELLED


@pytest.mark.django_db(transaction=True)
def test_a_result_that_is_too_large_is_cut_and_marked_and_the_execution_completes(
    queue: Queue,
    server: ConductorServer,
    client: ConductorClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.output = "x" * 300_000
    monkeypatch.setattr(conductor, "client", lambda: client)
    execution_id = queue(task_type="conductor", task_config={"content": "do it"})

    runner.run([execution_id])

    row = stored(execution_id)
    assert (row.status, row.result_truncated) == (ExecutionStatus.COMPLETED, True)
    assert row.result is not None
    assert row.result["thread_id"] == str(execution_id)
    assert row.result["output"].startswith("x" * 200_000)
    assert len(server.messages()) == 1
