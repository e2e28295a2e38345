"""What does not stop after its time limit: its attempt ends, and no other begins beside it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection

from agents_app import overruns, runner
from agents_app.handlers.base import Context
from agents_app.heartbeat import heartbeat
from agents_app.slices import Held
from config.env import env
from errors_app.models import DeadLetter, ErrorRecord
from executions_app import clock, lifecycle
from executions_app.models import Execution
from tests.agents_app.scripted import (
    PATIENCE_SECONDS,
    Anything,
    Queue,
    Scripted,
    in_the_background,
    stored,
)

pytestmark = pytest.mark.django_db(transaction=True)

GIVEN_UP_SECONDS = env.hard_limit_grace_seconds + env.lease_seconds


@pytest.fixture
def ends() -> Iterator[threading.Event]:
    """Set, it lets the deaf handler return."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def deaf(queue: Queue, ends: threading.Event) -> Iterator[tuple[UUID, threading.Thread]]:
    """An execution with a budget, in a thread whose handler never looks whether it is to stop."""

    def script(_: Context[Anything]) -> str:
        ends.wait(PATIENCE_SECONDS)
        return "too late"

    id_ = queue(script, max_retries=3)
    thread = in_the_background(id_)
    assert Scripted.started.wait(PATIENCE_SECONDS)
    yield id_, thread
    ends.set()
    thread.join(PATIENCE_SECONDS)


def held(id_: UUID) -> Held:
    return heartbeat._held()[id_]


def overrun_by(id_: UUID, seconds: float) -> None:
    """As if its time limit had passed so long ago."""
    context = held(id_).context
    assert context is not None
    context._ends -= context.timeout.total_seconds() + seconds


def test_the_next_attempt_begins_when_the_process_that_does_not_stop_is_gone_whatever_its_cap(
    queue: Queue,
) -> None:
    (claimed,) = lifecycle.claim([queue(max_retries=1, cap_ms=1)], worker_id="worker-1")
    before = clock.now()

    overruns.record(claimed)

    row = stored(claimed.id)
    assert (row.status, row.outcome) == ("pending", "timeout")
    assert row.due_at >= before + timedelta(seconds=2 * overruns.TELL_SECONDS)


def test_what_runs_on_in_a_thread_is_given_up_and_its_dead_letter_says_where_it_runs(
    deaf: tuple[UUID, threading.Thread],
) -> None:
    id_, thread = deaf
    overrun_by(id_, GIVEN_UP_SECONDS)

    heartbeat._relieve()

    row, letter = stored(id_), DeadLetter.objects.get(execution_id=id_)
    assert thread.is_alive()
    assert (row.status, row.outcome, row.attempt) == ("failed", "timeout", 1)
    assert letter.error_class == "timeout"
    assert repr(thread.name) in letter.message
    assert repr(runner.worker_id()) in letter.message
    assert "may still run" in ErrorRecord.objects.get().context["given_up"]
    assert Scripted.told_to_cancel.wait(PATIENCE_SECONDS)  # the heartbeat may have been first
    assert id_ not in heartbeat._held()


def test_what_a_thread_that_was_given_up_answers_later_changes_nothing(
    deaf: tuple[UUID, threading.Thread], ends: threading.Event
) -> None:
    id_, thread = deaf
    overrun_by(id_, GIVEN_UP_SECONDS)
    heartbeat._relieve()
    given_up = Execution.objects.filter(id=id_).values().get()

    ends.set()
    thread.join(PATIENCE_SECONDS)

    assert not thread.is_alive()
    assert Execution.objects.filter(id=id_).values().get() == given_up
    assert ErrorRecord.objects.filter(execution_id=id_).count() == 1


def test_until_it_is_given_up_its_lease_is_kept_so_that_nobody_begins_it(
    deaf: tuple[UUID, threading.Thread], ends: threading.Event
) -> None:
    id_, thread = deaf
    overrun_by(id_, GIVEN_UP_SECONDS - env.heartbeat_seconds)
    Execution.objects.filter(id=id_).update(lease_expires_at=clock.now())

    heartbeat._relieve()
    heartbeat.renew()

    row = stored(id_)
    assert row.status == "running"
    assert row.lease_expires_at is not None
    assert row.lease_expires_at > clock.now() + timedelta(seconds=env.lease_seconds / 2)
    ends.set()
    thread.join(PATIENCE_SECONDS)
    assert (stored(id_).status, stored(id_).result) == ("completed", "too late")


def test_while_postgresql_is_away_it_is_kept_and_given_up_afterwards(
    deaf: tuple[UUID, threading.Thread],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    id_, _ = deaf
    with caplog.at_level(logging.WARNING), monkeypatch.context() as away:
        connection.close()
        away.setitem(connection.settings_dict, "NAME", "nowhere")
        overrun_by(id_, GIVEN_UP_SECONDS)
        heartbeat._relieve()
        connection.close()
    assert "could not be stored yet" in caplog.text

    heartbeat._relieve()

    assert stored(id_).status == "failed"


def test_one_that_was_asked_to_stop_is_cancelled_although_it_runs_on(
    deaf: tuple[UUID, threading.Thread],
) -> None:
    id_, _ = deaf
    lifecycle.cancel(stored(id_))
    overrun_by(id_, GIVEN_UP_SECONDS)

    heartbeat._relieve()

    assert stored(id_).status == "cancelled"
    assert not DeadLetter.objects.exists()
