"""Error tracking: each error record arrives once, with its stack and without what it was given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from pytest_django import DjangoDbBlocker

from config import unspoken
from config.env import CHECKOUT, Env
from errors_app.models import ErrorRecord
from executions_app.scrub import SCRUBBED
from tests.config import sentry
from tests.faults.leaving import exit_status, tell
from tests.journeys import scenario
from tests.journeys.scenario import one, retries, run
from tests.processes import System

SECRET: Final = "hunter2-of-the-parameters"
REQUESTS: Final = """
import asyncio
import django
django.setup()
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.core.asgi import get_asgi_application
settings.ROOT_URLCONF = "tests.config.failing"
headers = {"Authorization": "Bearer of-the-header", "Cookie": "theme=of-the-cookie",
    "X-Request-ID": "req-7", "Host": "localhost", "Content-Type": "application/json"}
async def post(path, body):
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "query_string": b"key=of-the-query",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()]}
    call = ApplicationCommunicator(get_asgi_application(), scope)
    await call.send_input({"type": "http.request", "body": body})
    return (await call.receive_output(timeout=30))["status"]
assert asyncio.run(post("/api/bug", b'{"value": "of-the-body"}')) == 500
assert asyncio.run(post("/api/away", b"{}")) == 503
"""


@contextmanager
def working(folder: Path, **environment: str) -> Iterator[System]:
    with scenario.running(folder, threads=2, DRAIN_SECONDS="1", **environment) as system:
        yield system


def fail(*, most_retries: int = 0) -> Any:
    """A program that ends with the secret in its last words."""
    command = ["sh", "-c", f"echo {SECRET} >&2; exit 3"]
    words: dict[str, Any] = {"task_type": "shell_command", "task_config": {"command": command}}
    return run(retry_policy=retries(most_retries, **scenario.SOON), **words)


def ends(system: System, execution_id: Any) -> None:
    system.until(lambda: one(execution_id).status == "failed", what="it has failed")


@pytest.mark.journey
def test_each_error_record_arrives_once_with_its_stack_and_its_ids(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with (
        django_db_blocker.unblock(),
        sentry.listening() as tracker,
        working(tmp_path, SENTRY_DSN=tracker.dsn) as system,
    ):
        execution_id = fail(most_retries=1)
        ends(system, execution_id)
        worker = system.processes["worker"]
        tell(worker)
        status = exit_status(system, worker)

        records = ErrorRecord.objects.filter(execution_id=execution_id)
        failed = one(execution_id)
        arrived = Counter(event["tags"]["error_record_id"] for event in tracker.events)
        tags = tracker.events[-1]["tags"]
        exception = tracker.events[-1]["exception"]["values"][-1]
        assert status == 0
        assert arrived == Counter({str(record.id): 1 for record in records})
        assert len(arrived) == 2
        assert tags["execution_id"] == str(execution_id)
        assert tags["schedule_id"] == str(failed.schedule_id)
        assert tags["schedule"] == failed.snapshot["name"]
        assert tags["correlation_id"] == failed.correlation_id
        assert exception["stacktrace"]["frames"][-1]["module"].startswith("agents_app.handlers")
        assert [event["level"] for event in tracker.events] == ["warning", "error"]
        assert SECRET not in tracker.raw


@pytest.mark.journey
def test_a_tracker_that_never_answers_holds_up_nothing(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with (
        django_db_blocker.unblock(),
        sentry.deaf() as dsn,
        working(tmp_path, SENTRY_DSN=dsn) as system,
    ):
        executions = [fail() for _ in range(5)]
        for execution_id in executions:
            ends(system, execution_id)
        worker = system.processes["worker"]
        tell(worker)

        assert exit_status(system, worker) == 0
        assert ErrorRecord.objects.filter(execution_id__in=executions).count() == len(executions)


def in_a_process(code: str, **environment: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr


def test_what_nobody_foresaw_in_a_request_arrives_once_without_what_the_request_said() -> None:
    with sentry.listening() as tracker:
        in_a_process(REQUESTS, CADENZA_ROLE="web", SENTRY_DSN=tracker.dsn)

    (event,) = tracker.events
    assert event["exception"]["values"][-1]["type"] == "ZeroDivisionError"
    assert event["exception"]["values"][-1]["stacktrace"]["frames"]
    assert event["tags"]["correlation_id"] == "req-7"
    assert event["request"] == {"method": "POST", "url": "http://localhost/api/bug"}
    for secret in ("of-the-header", "of-the-cookie", "of-the-query", "of-the-body", "hunter2"):
        assert secret not in tracker.raw


@pytest.mark.parametrize(
    ("role", "dsn"), [("worker_io", ""), ("command", "http://key@127.0.0.1:1/1")]
)
def test_its_library_is_imported_only_where_it_is_used(role: str, dsn: str) -> None:
    code = "import django, sys; django.setup(); assert 'sentry_sdk' not in sys.modules"

    in_a_process(code, CADENZA_ROLE=role, SENTRY_DSN=dsn)


@pytest.mark.parametrize(
    "dsn", ["sentry.example.com", "https://sentry.example.com/1", "ftp://k@h/1"]
)
def test_a_dsn_that_is_none_stops_the_start(dsn: str) -> None:
    with pytest.raises(ValueError, match="as Sentry shows it"):
        Env(sentry_dsn=dsn)


def test_nothing_that_an_execution_was_given_stands_in_a_message() -> None:
    given = unspoken.values(
        [
            {"url": "https://shop.example.com/orders/77?key=abcd1234", "pin": 83_612, "on": True},
            {"note": "call  Ms Montgomery", "list": [["deeply hidden"]], "GET": "GET"},
        ]
    )
    value = (
        "GET of abcd1234 at shop.example.com (83612, Montgomery, deeply hidden) is True: "
        "1 validation error [type=int, input_value='very long ... and cut', input_type=str]"
    )
    frames = [{"function": "Montgomery", "filename": "montgomery.py"}]
    error = {"type": "Montgomery", "value": value, "stacktrace": {"frames": frames}}

    told = unspoken.left_out(
        {"exception": {"values": [error]}, "level": "error", "extra": {"a": 1}, "user": {"id": 1}},
        given=given,
    )

    assert told["exception"]["values"][0] == {
        **error,
        "value": (
            f"GET of {SCRUBBED} at {SCRUBBED} ({SCRUBBED}, {SCRUBBED}, {SCRUBBED}) is True: "
            f"1 validation error [type=int, input_value={SCRUBBED}, input_type=str]"
        ),
    }
    assert set(told) == {"exception", "level"}


def test_of_what_is_too_much_to_be_looked_for_no_message_is_told() -> None:
    given = unspoken.values({"body": " ".join(f"word-{n}" for n in range(100_000))})

    told = unspoken.left_out({"message": "it said word-99999"}, given=given)

    assert len(given) <= unspoken.MOST_VALUES + 1
    assert told == {"message": SCRUBBED}


def test_what_postgresql_repeats_of_a_row_is_cut_off() -> None:
    value = "null value violates a constraint\nDETAIL:  Failing row contains (1, hunter2)."

    told = unspoken.left_out({"exception": {"values": [{"value": value}]}}, given=())

    assert told["exception"]["values"] == [{"value": "null value violates a constraint"}]


def test_credentials_are_recognised_wherever_they_stand() -> None:
    told = unspoken.left_out(
        {
            "logentry": {
                "message": "Authorization: Bearer abcdefghijkl",
                "params": ["password=x1"],
            },
            "request": {
                "method": "POST",
                "url": "https://somebody:secret@host/x",
                "headers": {"Authorization": "Bearer abcdefghijkl"},
                "cookies": {"sessionid": "s"},
                "query_string": "token=1",
                "data": {"a": 1},
                "env": {"REMOTE_ADDR": "10.0.0.1"},
            },
            "contexts": {"job": {"api_key": "k"}},
        },
        given=(),
    )

    assert told == {
        "logentry": {"message": f"Authorization: {SCRUBBED}", "params": [f"password={SCRUBBED}"]},
        "request": {"method": "POST", "url": f"https://{SCRUBBED}@host/x"},
        "contexts": {"job": {"api_key": SCRUBBED}},
    }
