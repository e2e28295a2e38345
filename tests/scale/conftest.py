"""One large database for the tests of this folder, made once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from tests.journeys import services
from tests.scale import fill

ROWS = int(os.environ.get("CADENZA_SCALE_ROWS", "1000000"))


@pytest.fixture(scope="package")
def filled(django_db_blocker: DjangoDbBlocker) -> Iterator[int]:
    """The number of schedules, and of executions, that this process' database holds meanwhile."""
    with django_db_blocker.unblock(), services._database("scale"):
        fill.fill(rows=ROWS)
        yield ROWS


@pytest.fixture
def large(filled: int) -> Iterator[int]:
    """The same, and what the test changes is undone."""
    with transaction.atomic():
        yield filled
        transaction.set_rollback(True)
    assert connection.in_atomic_block is False
