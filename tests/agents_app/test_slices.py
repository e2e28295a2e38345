"""Many executions in one message: each ends as if it had come alone, and none waits for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import UUID

import pytest

from agents_app import draining, runner
from agents_app.handlers.base import Context
from agents_app.heartbeat import heartbeat
from errors_app.models import ErrorRecord
from executions_app import lifecycle
from executions_app.models import Execution, OutcomeInbox
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


@pytest.fixture
def undrained() -> Iterator[None]:
    """The worker goes on after the test has told it to stop."""
    yield
    draining._begun.clear()


def statuses(ids: list[UUID]) -> list[str]:
    return [stored(one).status for one in ids]


def only_first(slow: list[UUID]) -> object:
    """A script that takes its time for the first of these, and none for the others."""

    def script(context: Context[Anything]) -> str:
        if context.execution_id == slow[0]:
            until_checked(context)
        return "quick"

    return script


def test_a_message_of_many_runs_them_all_in_order_in_one_claim(queue: Queue) -> None:
    order: list[UUID] = []
    ids = [queue(lambda context: order.append(context.execution_id)) for _ in range(5)]

    assert runner.run(ids) == 5

    assert order == ids
    rows = [stored(one) for one in ids]
    assert {(row.status, row.outcome, row.attempt, row.slice_size) for row in rows} == {
        ("completed", "ok", 1, 5)
    }
    assert sorted(rows, key=lambda row: row.started_at or row.created_at) == rows


def test_how_long_each_took_is_its_own_time_and_not_that_of_its_slice(queue: Queue) -> None:
    def script(context: Context[Anything]) -> None:
        if context.execution_id == ids[0]:
            threading.Event().wait(0.2)

    ids: list[UUID] = []
    ids += [queue(script) for _ in range(3)]

    runner.run(ids)

    by_length = OutcomeInbox.objects.order_by("-duration_ms").values_list("execution_id", flat=True)
    assert by_length[0] == ids[0]
    assert OutcomeInbox.objects.filter(duration_ms__gte=200).count() == 1


def test_what_fails_among_many_fails_alone(queue: Queue) -> None:
    def script(context: Context[Anything]) -> object:
        if context.execution_id == ids[1]:
            raise ValueError("odd")
        return "done"

    ids: list[UUID] = []
    ids += [queue(script) for _ in range(3)]

    runner.run(ids)

    assert statuses(ids) == ["completed", "failed", "completed"]
    assert ErrorRecord.objects.get().execution_id == ids[1]


def test_what_waits_behind_a_slow_one_goes_back_untried_and_what_ended_is_stored(
    queue: Queue, scripted: type[Scripted]
) -> None:
    slow: list[UUID] = []
    ids = [queue(only_first(slow)) for _ in range(4)]
    slow.append(ids[1])

    thread = in_the_background(*ids)
    deadline = threading.Event()
    while statuses(ids) != ["completed", "running", "queued", "queued"]:
        assert not deadline.wait(0.05)
        assert thread.is_alive(), statuses(ids)
    lifecycle.cancel(stored(ids[1]))
    thread.join(PATIENCE_SECONDS)

    assert statuses(ids) == ["completed", "cancelled", "queued", "queued"]
    handed_back = stored(ids[2])
    assert (handed_back.attempt, handed_back.published_at) == (0, None)
    assert runner.run(ids[2:]) == 2
    assert stored(ids[2]).attempt == 1


def test_a_worker_that_drains_gives_back_what_it_has_not_begun(
    queue: Queue, undrained: None
) -> None:
    ids = [queue(lambda _: draining.begin()) for _ in range(3)]

    runner.run(ids)

    assert statuses(ids) == ["completed", "queued", "queued"]
    assert [stored(one).attempt for one in ids] == [1, 0, 0]


def test_one_that_is_cancelled_while_it_waits_in_a_slice_never_starts(
    queue: Queue, scripted: type[Scripted]
) -> None:
    ran: list[UUID] = []

    def script(context: Context[Anything]) -> None:
        ran.append(context.execution_id)
        lifecycle.cancel(stored(ids[1]))
        heartbeat.hear()

    ids: list[UUID] = []
    ids += [queue(script), queue(script)]

    runner.run(ids)

    assert ran == ids[:1]
    assert statuses(ids) == ["completed", "cancelled"]


def test_the_leases_of_those_that_wait_are_renewed_too(queue: Queue) -> None:
    extensions: list[list[int]] = []

    def script(_: Context[Anything]) -> None:
        heartbeat.renew()
        rows = Execution.objects.filter(status="running")
        extensions.append(list(rows.values_list("lease_extensions", flat=True)))

    ids = [queue(script) for _ in range(3)]

    runner.run(ids)

    assert extensions[0] == [1, 1, 1]
    assert statuses(ids) == ["completed"] * 3


def test_one_that_was_taken_over_while_it_waited_is_not_run(queue: Queue) -> None:
    ran: list[UUID] = []

    def script(context: Context[Anything]) -> None:
        ran.append(context.execution_id)
        Execution.objects.filter(id=ids[1]).update(lease_token=ids[1])
        heartbeat.renew()

    ids: list[UUID] = []
    ids += [queue(script), queue(script)]

    runner.run(ids)

    assert ran == ids[:1]
    assert statuses(ids) == ["completed", "running"]
    assert ErrorRecord.objects.count() == 0
