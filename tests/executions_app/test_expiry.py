"""What was not started in time ends `cancelled`, `expired`, with its event and its outcome."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from executions_app import clock, expiry, lifecycle
from executions_app.ledger import Leave
from executions_app.models import Event, Execution, OutcomeInbox
from executions_app.states import ExecutionStatus
from tests.factories import ExecutionFactory

SECOND = timedelta(seconds=1)


def make(status: ExecutionStatus, *, ends_in: timedelta | None, **changes: Any) -> Execution:
    expires_at = None if ends_in is None else clock.now() + ends_in
    return ExecutionFactory.create(status=status, expires_at=expires_at, **changes)


def left() -> dict[Any, tuple[str, str]]:
    rows = Execution.objects.values_list("id", "status", "outcome")
    return {row[0]: (row[1], row[2]) for row in rows}


@pytest.mark.django_db
@pytest.mark.parametrize("status", [ExecutionStatus.PENDING, ExecutionStatus.QUEUED])
def test_what_was_not_started_in_time_expires(status: ExecutionStatus) -> None:
    late = make(status, ends_in=-SECOND)
    in_time = make(status, ends_in=timedelta(minutes=1))
    patient = make(status, ends_in=None)

    number = expiry.sweep(limit=10)

    assert number == 1
    assert left() == {
        late.id: ("cancelled", "expired"),
        in_time.id: (status.value, ""),
        patient.id: (status.value, ""),
    }
    event = Event.objects.get(type="execution:cancelled")
    assert (event.execution_id, event.data["outcome"]) == (late.id, "expired")
    assert OutcomeInbox.objects.get().outcome == "expired"


@pytest.mark.django_db
def test_what_is_held_back_expires_too() -> None:
    make(ExecutionStatus.PENDING, ends_in=-SECOND, held_by="limit:system")

    assert expiry.sweep(limit=10) == 1
    assert Execution.objects.get().held_by == ""


@pytest.mark.django_db
def test_what_was_started_once_does_not_expire_any_more() -> None:
    running = make(ExecutionStatus.RUNNING, ends_in=timedelta(minutes=1))
    Execution.objects.update(expires_at=clock.now() - SECOND)
    while_running = expiry.sweep(limit=10)
    assert running.lease_token is not None
    lifecycle.leave_now(
        Leave(running.id, running.lease_token, ExecutionStatus.PENDING, due_at=clock.now())
    )

    assert (while_running, expiry.sweep(limit=10)) == (0, 0)


@pytest.mark.django_db
def test_a_sweep_is_bounded_and_the_next_one_goes_on() -> None:
    for _ in range(3):
        make(ExecutionStatus.PENDING, ends_in=-SECOND)

    assert [expiry.sweep(limit=2) for _ in range(3)] == [2, 1, 0]
