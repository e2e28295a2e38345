"""A service that is away is a 503 that asks for patience, on every page and for every caller."""

from __future__ import annotations

from typing import NoReturn

import psycopg
import pytest
import redis
from django.db import InternalError, OperationalError
from django.http import HttpResponse
from django.test import RequestFactory

from executions_app.api import problems


def refused(
    path: str, error: Exception, cause: Exception | None = None, **headers: str
) -> HttpResponse:
    """What is answered to a request that failed with this error."""
    error.__cause__ = cause

    def fail() -> NoReturn:
        raise error

    try:
        fail()
    except type(error):  # as Django calls it: inside of the failure
        return problems.server_error(RequestFactory().get(path, headers=headers))


def test_a_person_gets_a_page_that_looks_again() -> None:
    answer = refused("/", OperationalError("10.0.0.7 refused"), accept="text/html")

    assert (answer.status_code, answer["Retry-After"], answer["Refresh"]) == (503, "5", "5")
    assert answer["Content-Type"].startswith("text/html")
    assert b"PostgreSQL does not answer" in answer.content
    assert b"10.0.0" not in answer.content


@pytest.mark.parametrize("path", ["/api/scheduler/status", "/"])
def test_a_program_gets_a_problem_document(path: str) -> None:
    answer = refused(path, redis.OutOfMemoryError("OOM"), accept="application/json")

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer["Content-Type"] == "application/problem+json"
    assert b"Redis has no space left" in answer.content


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (OperationalError(), psycopg.errors.DiskFull(), b"has no space left"),
        (InternalError(), psycopg.errors.ReadOnlySqlTransaction(), b"only reads at the moment"),
    ],
)
def test_a_database_that_cannot_write_says_so(
    error: Exception, cause: Exception, words: bytes
) -> None:
    answer = refused("/api/scheduler/status", error, cause)

    assert answer.status_code == 503
    assert words in answer.content


def test_what_nobody_foresaw_stays_an_error() -> None:
    answer = refused("/api/scheduler/status", InternalError("a bug"))

    assert answer.status_code == 500
