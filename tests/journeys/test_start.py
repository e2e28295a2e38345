"""Processes that are started too early: they say what is missing, wait, and then begin."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoDbBlocker

from tests.faults.leaving import exit_status
from tests.journeys import services
from tests.processes import Process, System

pytestmark = pytest.mark.journey


@pytest.fixture
def unmigrated(django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> Iterator[System]:
    """A system whose database is empty."""
    with django_db_blocker.unblock(), services.system(tmp_path) as made:
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE")
            cursor.execute("CREATE SCHEMA public")
        connection.close()
        yield made


def log(process: Process) -> str:
    return process.log.read_text() if process.log.exists() else ""


def waits(system: System, process: Process) -> None:
    system.until(lambda: "migrations are not applied" in log(process), what="it says what it lacks")


def test_beats_and_workers_that_come_before_the_migrations_wait_for_them(
    unmigrated: System,
) -> None:
    started = [unmigrated.beat(), unmigrated.worker(), unmigrated.worker("child", pool="prefork")]
    for process in started:
        waits(unmigrated, process)

    call_command("migrate", verbosity=0)
    unmigrated.wait_ready()

    for process in started:
        assert process.deaths == 0
        assert "Traceback" not in log(process)
        assert "run `manage.py migrate`; this process waits" in log(process)
        assert log(process).count("All migrations are applied; this process begins") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_waits_for_migrations_ends_when_it_is_told_to(
    unmigrated: System, number: signal.Signals
) -> None:
    for process in (unmigrated.beat(), unmigrated.worker()):
        waits(unmigrated, process)
        process.is_wanted = False
        assert process.child is not None
        process.child.send_signal(number)

        assert exit_status(unmigrated, process) == 0
        assert "Traceback" not in log(process)
