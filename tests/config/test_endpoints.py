"""The demo's endpoints: what they answer, and that they forget no call."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from config.demo import endpoints
from config.demo.endpoints import Answer
from config.demo.ledger import CUT, HUNG_UP, Call, Ledger, listening_since, read

SERVE = """
import sys
from pathlib import Path
from config.demo import endpoints, ledger
listener = endpoints.listen(0)
print(listener.getsockname()[1], flush=True)
endpoints.serve(listener, ledger.Ledger(Path(sys.argv[1])))
"""
CHECKOUT = Path(endpoints.__file__).parents[2]


@dataclass(frozen=True)
class Running:
    url: str
    ledger: Path

    def post(self, path: str, *, key: str = "a-key", attempt: int = 1) -> int:
        headers = {"Idempotency-Key": key, "X-Cadenza-Attempt": str(attempt)}
        return requests.post(f"{self.url}{path}", headers=headers, timeout=30).status_code

    def calls(self) -> list[Call]:
        return read(self.ledger)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    listener = endpoints.listen(0)
    ledger = Ledger(tmp_path / "calls.jsonl")
    running = endpoints.server(ledger)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", ledger.path)
    running.should_exit = True
    thread.join()
    listener.close()
    ledger.close()


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[[], tuple[Running, subprocess.Popen[str]]]]:
    started: list[subprocess.Popen[str]] = []
    path = tmp_path / "calls.jsonl"

    def start() -> tuple[Running, subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(path)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return Running(f"http://127.0.0.1:{process.stdout.readline().strip()}", path), process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def eventually(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends, "the condition never held"
        time.sleep(0.02)


def test_a_call_is_on_record_with_its_key_attempt_and_answer(server: Running) -> None:
    before = time.time()

    status = server.post("/steady", key="execution-1", attempt=2)

    [call] = server.calls()
    assert status == 200
    assert (call.endpoint, call.method) == ("/steady", "POST")
    assert (call.idempotency_key, call.attempt, call.status) == ("execution-1", 2, 200)
    assert call.ended_at is not None
    assert before <= call.arrived_at <= call.ended_at


def test_the_same_call_made_twice_is_two_calls(server: Running) -> None:
    server.post("/steady")
    server.post("/steady")

    assert len(server.calls()) == 2


def test_a_call_without_identity_is_on_record_too(server: Running) -> None:
    requests.get(f"{server.url}/steady", timeout=30)

    [call] = server.calls()
    assert (call.idempotency_key, call.attempt, call.method) == (None, None, "GET")


def test_the_dead_endpoint_never_succeeds(server: Running) -> None:
    statuses = {server.post("/dead", attempt=attempt) for attempt in range(1, 11)}

    assert statuses == {503}


def test_an_unknown_endpoint_is_refused_and_on_record(server: Running) -> None:
    status = server.post("/nowhere")

    assert status == 404
    assert [one.status for one in server.calls()] == [404]


def test_the_flaky_endpoint_fails_seven_times_of_ten_in_every_way() -> None:
    chances = [endpoints.chance("cadenza", f"key-{n}", 1) for n in range(2000)]

    answers = Counter(endpoints.flaky(one, {}).status for one in chances)

    failures = answers[500] + answers[503] + answers[CUT]
    assert 0.66 < failures / len(chances) < 0.74
    assert min(answers[500], answers[503], answers[CUT]) > 300


def test_the_flaky_endpoint_repeats_itself_for_the_same_attempt_only(server: Running) -> None:
    def outcomes(attempt: int) -> list[int]:
        found = []
        for number in range(30):
            try:
                found.append(server.post("/flaky", key=f"key-{number}", attempt=attempt))
            except requests.RequestException:
                found.append(CUT)
        return found

    first, again, retry = outcomes(1), outcomes(1), outcomes(2)

    assert first == again
    assert first != retry


def test_a_broken_off_answer_is_an_error_for_the_caller(server: Running) -> None:
    key = next(
        f"key-{n}"
        for n in range(1000)
        if endpoints.flaky(endpoints.chance("cadenza", f"key-{n}", 1), {}).status == CUT
    )

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        server.post("/flaky", key=key)

    assert [one.status for one in server.calls()] == [CUT]


def test_the_slow_endpoint_takes_between_half_a_second_and_two() -> None:
    assert endpoints.slow(0.0, {}) == Answer(after_seconds=0.5)
    assert endpoints.slow(1.0, {}) == Answer(after_seconds=2.0)


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "1e9"])
def test_a_senseless_sleep_is_refused(server: Running, seconds: str) -> None:
    assert server.post(f"/sleep?seconds={seconds}") == 400


def test_a_caller_that_hangs_up_is_on_record_as_gone(server: Running) -> None:
    with pytest.raises(requests.Timeout):
        requests.post(f"{server.url}/sleep?seconds=300", timeout=(5, 0.05))

    eventually(lambda: [one.status for one in server.calls()] == [HUNG_UP])


def test_the_ledger_is_read_back_by_endpoint_key_and_time(server: Running) -> None:
    server.post("/steady", key="one")
    server.post("/dead", key="one")
    between = time.time()
    server.post("/steady", key="two")

    def found(query: str) -> list[tuple[str, str]]:
        answer = requests.get(f"{server.url}/ledger?{query}", timeout=30).json()
        return [(one["endpoint"], one["idempotency_key"]) for one in answer["calls"]]

    assert found("endpoint=/dead") == [("/dead", "one")]
    assert found("key=one") == [("/steady", "one"), ("/dead", "one")]
    assert found(f"since={between}") == [("/steady", "two")]
    assert len(found("")) == 3


def test_a_thousand_simultaneous_calls_are_all_answered(
    start_process: Callable[[], tuple[Running, subprocess.Popen[str]]],
) -> None:
    endpoints.allow_open_files(endpoints.MANY_CONNECTIONS)
    running, _ = start_process()
    port = int(running.url.rpartition(":")[2])

    async def call(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = (
            f"POST /sleep?seconds=1 HTTP/1.1\r\nHost: demo\r\nIdempotency-Key: {number}\r\n"
            "Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer.partition(b"\r\n")[0]

    async def all_at_once() -> list[bytes]:
        return await asyncio.gather(*(call(number) for number in range(1000)))

    answers = asyncio.run(all_at_once())

    assert set(answers) == {b"HTTP/1.1 200 OK"}
    assert {one.idempotency_key for one in running.calls()} == {str(n) for n in range(1000)}


def test_a_killed_server_has_forgotten_nothing(
    start_process: Callable[[], tuple[Running, subprocess.Popen[str]]],
) -> None:
    started_at = time.time()
    running, process = start_process()
    running.post("/steady", key="before")
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{running.url}/slow", headers={"Idempotency-Key": "during"}, timeout=(5, 0.05)
        )

    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again, _ = start_process()
    again.post("/steady", key="after")

    calls = {one.idempotency_key: one.status for one in again.calls()}
    assert calls["before"] == 200
    assert "during" in calls
    assert calls["after"] == 200
    since = listening_since(again.ledger)
    assert since is not None
    assert started_at <= since <= again.calls()[0].arrived_at


def test_a_torn_last_line_costs_no_later_call(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"call": "torn", "endpo')

    ledger = Ledger(path)
    call = ledger.arrived(endpoint="/steady", method="GET", idempotency_key="k", attempt=1)
    ledger.answered(call, 200)
    ledger.close()

    assert [(one.call, one.status) for one in read(path)] == [(call, 200)]


def test_a_full_ledger_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    ledger = Ledger(path, most_bytes=1)
    for key in ("first", "second"):
        ledger.arrived(endpoint="/steady", method="GET", idempotency_key=key, attempt=1)
    ledger.close()

    assert [one.idempotency_key for one in read(path)] == ["second"]
    assert [one.idempotency_key for one in read(tmp_path / "calls.jsonl.1")] == ["first"]
