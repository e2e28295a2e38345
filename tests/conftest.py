"""What every test may count on, whatever ran before: the system's one row, and nothing learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from django.db import connection
from django.db.models.signals import post_migrate
from django.dispatch import receiver
from pytest_httpserver import HTTPServer

from executions_app.models import SystemState
from scheduler_app.prediction import predictions


@receiver(post_migrate, dispatch_uid="tests.system_state")
def restore_system_state(sender: Any, **_: Any) -> None:
    """A test that flushes its tables takes the row of the migrations with it; flush tells so."""
    if sender.name == "executions_app" and "system_state" in connection.introspection.table_names():
        SystemState.objects.get_or_create(id=1)


@pytest.fixture(autouse=True)
def no_duration_is_known() -> None:
    predictions.__init__()  # type: ignore[misc]


@pytest.fixture
def httpserver(httpserver: HTTPServer) -> Iterator[HTTPServer]:
    """The server of a test, and at its end of nobody: it has answered what was left behind.

    It answers one after the other, and callers who gave up would be counted in the next test.
    """
    yield httpserver
    if httpserver.is_running():
        with suppress(requests.RequestException):
            requests.get(httpserver.url_for("/the-last-of-this-test"), timeout=6)
