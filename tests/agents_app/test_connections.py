"""In a worker with threads nobody keeps a connection that somebody else may wait for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction
from django.db.backends.postgresql.base import DatabaseWrapper

from agents_app import connections, threads
from executions_app import announcer, events

pytestmark = pytest.mark.django_db(transaction=True)


def test_who_waits_for_its_turn_holds_none(
    pooled: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited_without: list[bool] = []

    @contextmanager
    def turns() -> Iterator[None]:
        waited_without.append(pooled.connection is None)
        yield

    pooled.ensure_connection()
    with monkeypatch.context() as busy:
        busy.setattr(connections, "_turns", turns())
        with connections.turn(), transaction.atomic():
            pass

    assert waited_without == [True]
    assert pooled.connection is None


def test_the_bell_of_what_is_committed_takes_none(
    pooled: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[bool] = []
    monkeypatch.setattr(announcer, "ring", lambda: rung.append(True))
    with transaction.atomic():
        events.announce()
        assert rung == []
    connections.let_go()

    events.announce()

    assert rung == [True, True]
    assert pooled.connection is None


def test_a_thread_that_is_given_back_has_none(
    pooled: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads._Worker, "started_here", 1)

    threads._run(connection.ensure_connection)

    assert threads._Worker.started_here == 0
    assert pooled.connection is None
