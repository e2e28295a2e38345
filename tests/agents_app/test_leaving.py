"""A worker that is to end: what it has not begun goes back, what runs is cut short at the limit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from agents_app import draining, leaving, runner
from agents_app.handlers.base import Context
from errors_app.models import ErrorRecord
from errors_app.taxonomy import LeaseLost
from executions_app import clock
from executions_app.models import Execution
from tests.agents_app.scripted import (
    PATIENCE_SECONDS,
    Anything,
    Queue,
    Scripted,
    in_the_background,
    stored,
    until_checked,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def undrained() -> Iterator[None]:
    """The worker goes on after the test has told it to stop."""
    yield
    draining._begun.clear()


def waits_for_its_turn(context: Context[Anything]) -> str:
    with context.waiting():
        until_checked(context)
    return "its turn came"


def test_what_runs_at_the_limit_is_lost_at_once_and_tried_again(queue: Queue) -> None:
    id_ = queue(until_checked, max_retries=1)
    thread = in_the_background(id_)
    assert Scripted.started.wait(PATIENCE_SECONDS)

    leaving.let_go()
    thread.join(PATIENCE_SECONDS)

    assert not thread.is_alive()
    assert (stored(id_).status, stored(id_).outcome, stored(id_).attempt) == ("pending", "lost", 1)
    record = ErrorRecord.objects.get(execution_id=id_)
    assert (record.error_class, record.exception_type) == ("lost", "WorkerStopped")


def test_what_only_waits_for_its_turn_goes_back_uncharged(queue: Queue) -> None:
    id_ = queue(waits_for_its_turn)
    thread = in_the_background(id_)
    assert Scripted.started.wait(PATIENCE_SECONDS)

    draining.begin()
    thread.join(PATIENCE_SECONDS)

    assert not thread.is_alive()
    assert (stored(id_).status, stored(id_).attempt) == ("queued", 0)
    assert not ErrorRecord.objects.exists()


def test_an_outcome_that_comes_in_the_last_moment_counts(queue: Queue) -> None:
    def finishes(context: Context[Any]) -> str:
        with contextlib.suppress(LeaseLost):
            until_checked(context)
        return "just in time"

    id_ = queue(finishes)
    thread = in_the_background(id_)
    assert Scripted.started.wait(PATIENCE_SECONDS)

    leaving.let_go()
    thread.join(PATIENCE_SECONDS)

    assert (stored(id_).status, stored(id_).result) == ("completed", "just in time")
    assert not ErrorRecord.objects.exists()


def test_what_does_not_hear_is_tried_again_only_when_this_process_is_gone_whatever_its_cap(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "HEAR_SECONDS", 0.0)
    hears_at_last = threading.Event()
    id_ = queue(lambda _: hears_at_last.wait(PATIENCE_SECONDS), max_retries=1, cap_ms=1)
    thread = in_the_background(id_)
    assert Scripted.started.wait(PATIENCE_SECONDS)

    told_at = clock.now()
    leaving.let_go()
    row = stored(id_)
    hears_at_last.set()
    thread.join(PATIENCE_SECONDS)

    assert (row.status, row.outcome) == ("pending", "lost")
    assert row.due_at >= told_at + timedelta(seconds=leaving.ALL_SECONDS)
    assert (stored(id_).status, stored(id_).result) == ("pending", None)


def test_messages_that_come_too_late_are_left_to_others(queue: Queue) -> None:
    id_ = queue()
    Execution.objects.filter(id=id_).update(published_at="2026-01-01T00:00:00Z")
    draining.begin()

    assert runner.run([id_]) == 0

    assert (stored(id_).status, stored(id_).attempt) == ("queued", 0)
    assert stored(id_).published_at is None
