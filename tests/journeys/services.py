"""A database and a Redis for one System; this process sees the same two meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from config import embedded_instance
from config.connections import redis_database
from executions_app import partitions
from scheduler_app import queues
from tests.processes import QUICK, System

PATIENTLY: Final = "-c lock_timeout=60000 -c statement_timeout=90000"
TEMPLATE: Final = f"journeys_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


@contextmanager
def system(folder: Path, **environment: str) -> Iterator[System]:
    """A system without beat and worker yet; this process sees the same database and Redis."""
    name = f"{TEMPLATE}_{folder.name}".replace("-", "_").lower()
    redis_url = f"redis://127.0.0.1:{embedded_instance.next_free(0)}/0"
    database_url = _sibling(name)
    with _database(name), _broker(redis_url):
        made = System(
            redis_url,
            folder,
            {
                **os.environ,
                **QUICK,
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "JOURNAL": str(folder / "journal.jsonl"),
                "PYTHONUNBUFFERED": "1",
                **environment,
            },
        )
        try:
            made.redis_server()
            yield made
        finally:
            made.close()


def _sibling(name: str) -> str:
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


@contextmanager
def _database(name: str) -> Iterator[None]:
    """A new, migrated database, which this process' connection sees meanwhile."""
    _make_template()
    _administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    _administer(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    try:
        with _seeing(name):
            yield
    finally:
        _administer(f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _make_template() -> None:
    """Migrate once per test session; every system gets a copy of it."""
    _administer(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)", f"CREATE DATABASE {TEMPLATE}")
    with _seeing(TEMPLATE):
        call_command("migrate", verbosity=0)


@contextmanager
def _seeing(name: str) -> Iterator[None]:
    """Patiently: a process of the system may be off its processor with a row locked."""
    known, options = connection.settings_dict, connection.settings_dict["OPTIONS"]
    before = known["NAME"], options["options"]
    connection.close()
    known["NAME"], options["options"] = name, f"{before[1]} {PATIENTLY}"
    partitions.forget()
    try:
        yield
    finally:
        connection.close()
        known["NAME"], options["options"] = before
        partitions.forget()


def _administer(*statements: str) -> None:
    with psycopg.connect(_sibling("postgres"), autocommit=True) as administrator:
        for statement in statements:
            administrator.execute(statement)


@contextmanager
def _broker(redis_url: str) -> Iterator[None]:
    """Let what this process publishes go to the system's Redis."""
    before = settings.REDIS_BROKER_URL
    settings.REDIS_BROKER_URL = redis_database(redis_url, 0)
    queues.broker.cache_clear()
    try:
        yield
    finally:
        queues.broker().close()
        queues.broker.cache_clear()
        settings.REDIS_BROKER_URL = before
