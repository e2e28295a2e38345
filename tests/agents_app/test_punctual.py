"""A worker that holds an execution before its instant begins it at the instant, never before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from agents_app import draining, punctual, runner
from agents_app.handlers.base import Context
from executions_app import clock, ledger
from executions_app.models import Execution
from tests.agents_app.scripted import PATIENCE_SECONDS, Anything, Queue, in_the_background, stored

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def undrained() -> Iterator[None]:
    """The worker goes on after the test has told it to stop."""
    yield
    draining._begun.clear()


def early(ids: list[UUID], seconds: float) -> datetime:
    """Let these begin in so many seconds; answers the instant."""
    instant = clock.now() + timedelta(seconds=seconds)
    Execution.objects.filter(id__in=ids).update(due_at=instant)
    return instant


def test_nothing_begins_before_its_instant(queue: Queue) -> None:
    began: list[datetime] = []
    ids = [queue(lambda _: began.append(datetime.now(UTC))) for _ in range(3)]
    instant = early(ids, 0.5)

    runner.run(ids)

    rows = [stored(one) for one in ids]
    assert len(began) == 3
    assert min(began) >= instant
    assert {row.status for row in rows} == {"completed"}
    for row, at in zip(rows, began, strict=True):
        assert row.started_at
        assert row.completed_at
        assert instant <= row.started_at <= row.completed_at
        assert abs(at - row.started_at) < timedelta(seconds=0.25)


def test_what_may_begin_now_waits_for_nothing_that_may_not(queue: Queue) -> None:
    order: list[UUID] = []
    stored_by_then: list[str] = []

    def script(context: Context[Anything]) -> None:
        order.append(context.execution_id)
        if context.execution_id == ids[0]:
            stored_by_then.extend(stored(one).status for one in ids[1:])

    ids: list[UUID] = []
    ids += [queue(script) for _ in range(3)]
    early(ids[:1], 0.5)

    runner.run(ids)

    assert order == [*ids[1:], ids[0]]
    assert stored_by_then == ["completed", "completed"]


def test_who_waits_for_an_instant_leaves_the_lane_to_others(queue: Queue) -> None:
    waits: list[bool] = []
    ids = [queue()]
    early(ids, 0.3)

    runner.run(ids, on_wait=lambda: waits.append(True))

    assert waits == [True]


def test_after_a_clock_was_set_back_nobody_waits_for_it(queue: Queue) -> None:
    ids = [queue()]
    early(ids, 3600)

    runner.run(ids)

    assert stored(ids[0]).status == "completed"


def test_a_worker_that_drains_gives_back_what_waits_for_its_instant(
    queue: Queue, undrained: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MOST_EARLY_SECONDS", 10 * PATIENCE_SECONDS)
    ids = [queue(), queue()]
    early(ids, PATIENCE_SECONDS * 2)

    thread = in_the_background(*ids)
    while {stored(one).status for one in ids} != {"running"}:
        assert thread.is_alive()
    draining.begin()
    thread.join(PATIENCE_SECONDS)

    assert not thread.is_alive()
    assert [(stored(one).status, stored(one).attempt) for one in ids] == [("queued", 0)] * 2


def test_who_has_begun_lets_others_begin_before_it_goes_on() -> None:
    order: list[str] = []
    punctual.expect("other", at=0.0)

    def begin() -> None:
        order.append("other")
        punctual.has_begun("other")

    other = threading.Timer(0.01, begin)
    other.start()
    punctual.let_others_begin()
    order.append("one")
    other.join()

    assert order == ["other", "one"]


def test_nobody_waits_for_a_later_instant_nor_for_ever() -> None:
    punctual.expect("never", at=0.0)
    punctual.let_others_begin()
    assert punctual.has_begun("never")

    punctual.expect("later", at=float("inf"))
    punctual.let_others_begin()
    assert punctual.has_begun("later")
    assert not punctual.has_begun("later")
