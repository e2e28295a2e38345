"""What nobody carries on is carried on, ended or given up, and never the work of somebody else."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from agents_app.cycle import ending, holder, rows, watchdog
from agents_app.models import Cycle, CycleStage, CycleStatus
from config.env import env
from executions_app import clock, lifecycle
from executions_app.models import Event, Execution, Step
from executions_app.states import ExecutionStatus, LostRace
from scheduler_app import queues
from tests.agents_app.agents import make_agent
from tests.agents_app.cycle import driving  # noqa: F401  messages go to the Redis of the tests
from tests.agents_app.cycle.test_begin import begun, failed, planned, queued, queued_again

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(hours=1)


@pytest.fixture(autouse=True)
def somebody() -> None:
    make_agent("warmer")


def due(cycle: Cycle, **changes: object) -> None:
    """Nobody has moved it for long: it is to be looked at."""
    at = clock.now() - LONG_AGO
    Cycle.objects.filter(id=cycle.id).update(look_at=at, **{"updated_at": at, **changes})


def lost(cycle: Cycle, **changes: object) -> Step:
    """Its one step runs, and its worker is gone."""
    planned(cycle, "running")
    past = clock.now() - LONG_AGO
    held = {"lease_token": uuid4(), "lease_expires_at": past, "attempt": 1, **changes}
    Step.objects.filter(execution_id=cycle.execution_id).update(**held)
    due(cycle)
    return Step.objects.get(execution_id=cycle.execution_id)


def test_a_step_whose_worker_is_lost_is_queued_again() -> None:
    step = lost(begun(queued()))

    watchdog.look()

    step.refresh_from_db()
    assert (step.status, step.lease_token) == ("queued", None)


def test_a_step_whose_third_worker_is_lost_has_failed() -> None:
    step = lost(begun(queued()), attempt=3)

    watchdog.look()

    step.refresh_from_db()
    assert (step.status, step.error_class) == ("failed", "lost")


def test_a_step_that_must_not_be_made_twice_has_failed_when_its_worker_is_lost() -> None:
    config = {"endpoint": {"retry": {"idempotent": False}}}
    step = lost(begun(queued()), config=config)

    watchdog.look()

    step.refresh_from_db()
    assert step.status == "failed"
    assert (step.result or {})["may_repeat"] is False


def test_a_lost_step_of_a_cycle_that_is_over_is_ended_and_sent_no_more() -> None:
    cycle = begun(queued())
    step = lost(cycle)
    step_lease = step.lease_expires_at
    failed(cycle)
    waits_for = Cycle.objects.get(id=cycle.id).look_at

    watchdog.look()
    due(cycle)
    watchdog.look()

    step.refresh_from_db()
    assert waits_for == step_lease
    assert step.status == "cancelled"
    assert Cycle.objects.get(id=cycle.id).look_at is None


def test_a_stage_whose_holder_is_lost_again_and_again_fails_the_attempt() -> None:
    cycle = begun(queued())
    held = {"stage_token": uuid4(), "stage_expires_at": clock.now() - LONG_AGO}
    due(cycle, redriven=watchdog.MOST_STAGES_LOST, **held)

    watchdog.look()

    assert Cycle.objects.get(id=cycle.id).status == CycleStatus.FAILED
    assert Execution.objects.get(id=cycle.execution_id).status == ExecutionStatus.PENDING


def test_a_cancelled_cycle_that_nobody_carries_out_is_ended() -> None:
    cycle = begun(queued())
    lifecycle.cancel(Execution.objects.get(id=cycle.execution_id))

    watchdog.look()

    assert Cycle.objects.get(id=cycle.id).status == CycleStatus.CANCELLED
    assert Execution.objects.get(id=cycle.execution_id).status == ExecutionStatus.CANCELLED


def test_a_cycle_whose_time_is_over_fails_with_a_timeout() -> None:
    cycle = begun(queued())
    due(cycle, deadline=clock.now() - LONG_AGO)

    watchdog.look()

    execution = Execution.objects.get(id=cycle.execution_id)
    assert (execution.status, execution.outcome) == (ExecutionStatus.PENDING, "timeout")


def test_a_cycle_whose_execution_is_over_is_over() -> None:
    cycle = begun(queued())
    planned(cycle, "queued")
    lifecycle.leave_all([lifecycle.cancellation(holder.of(cycle))])
    due(cycle)

    watchdog.look()

    assert Cycle.objects.get(id=cycle.id).status == CycleStatus.CANCELLED
    assert Step.objects.get(execution_id=cycle.execution_id).status == "cancelled"


def test_who_closes_a_cycle_late_leaves_the_next_attempt_alone() -> None:
    first = begun(queued())
    failed(first)
    again = begun(queued_again(first.execution_id))

    with pytest.raises(LostRace):
        ending.close(first, CycleStatus.FAILED)
    with pytest.raises(LostRace):
        ending.close(again, CycleStatus.FAILED)

    assert Cycle.objects.get(id=first.id).status == CycleStatus.RUNNING


def test_what_may_have_been_carried_out_is_not_tried_again() -> None:
    cycle = begun(queued())
    planned(cycle, "failed")
    Step.objects.filter(execution_id=cycle.execution_id).update(
        result={"may_repeat": False}, error_class="timeout"
    )

    rows.move(cycle, stage=CycleStage.SCHEDULE)
    held = rows.hold_stage(cycle.id)
    assert held is not None
    assert held.stage_token is not None
    ending.finish(held, held=held.stage_token, changes={})

    assert Execution.objects.get(id=cycle.execution_id).status == ExecutionStatus.FAILED


def test_a_stage_that_somebody_carries_out_is_left_to_them() -> None:
    cycle = begun(queued())
    held = {"stage_token": uuid4(), "stage_expires_at": clock.now() + LONG_AGO}
    due(cycle, **held)

    watchdog.look()

    after = Cycle.objects.get(id=cycle.id)
    assert (after.stage, after.stage_token) == (CycleStage.PLAN, held["stage_token"])


def sent() -> int:
    """The messages that wait in the queue of the cycles."""
    return queues.depths()["normal"]


def test_a_message_of_a_stage_is_sent_again_later_each_time() -> None:
    cycle = begun(queued())
    before = sent()

    waits: list[timedelta] = []
    for _ in range(4):
        quiet = timedelta(seconds=env.rescue_seconds) if not waits else waits[-1]
        at = clock.now()
        Cycle.objects.filter(id=cycle.id).update(
            look_at=at, updated_at=at - quiet - timedelta(milliseconds=1)
        )
        watchdog.look()
        watchdog.look()  # and nobody sends it a second time
        after = Cycle.objects.get(id=cycle.id)
        assert after.look_at is not None
        waits.append(after.look_at - after.updated_at)

    assert sent() - before == 4
    assert [round(one / waits[0]) for one in waits] == [1, 2, 4, 8]


def test_of_many_late_stages_the_longest_overdue_go_first_and_so_many_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "MOST", 2)
    made = [begun(queued()) for _ in range(3)]
    for hours, cycle in enumerate(reversed(made), start=1):
        at = clock.now() - timedelta(hours=hours)
        Cycle.objects.filter(id=cycle.id).update(look_at=at, updated_at=at)
    before = sent()

    watchdog.look()

    left = Cycle.objects.filter(look_at__lt=clock.now())
    assert sent() - before == 2
    assert [one.id for one in left] == [made[-1].id]


def test_a_step_whose_message_was_lost_is_sent_again() -> None:
    cycle = begun(queued())
    planned(cycle, "queued")
    due(cycle)
    at = clock.now() - LONG_AGO
    Step.objects.filter(execution_id=cycle.execution_id).update(queued_at=at, updated_at=at)
    before = sent()

    watchdog.look()
    due(cycle)
    watchdog.look()

    assert sent() - before == 1


def test_steps_that_ended_unseen_are_followed_by_the_next_stage() -> None:
    cycle = begun(queued())
    planned(cycle, "completed")
    due(cycle)

    watchdog.look()

    assert Cycle.objects.get(id=cycle.id).stage == CycleStage.SUMMARISE


def test_a_stage_that_is_renewed_while_somebody_looks_is_left_to_its_holder() -> None:
    cycle = begun(queued())
    held = rows.hold_stage(cycle.id)
    assert held is not None
    due(cycle, stage_expires_at=clock.now() - LONG_AGO)
    assert held.stage_token is not None
    rows.renew({held.stage_token: cycle.id})

    watchdog.look()

    after = Cycle.objects.get(id=cycle.id)
    assert after.stage_token == held.stage_token
    assert after.look_at == after.stage_expires_at


def test_a_cycle_that_was_silent_for_long_is_told_of_by_who_looks_at_it() -> None:
    cycle = begun(queued())
    at = clock.now() - LONG_AGO
    due(cycle, started_at=at, deadline=at + 2 * LONG_AGO)
    execution = Execution.objects.get(id=cycle.execution_id)
    execution.snapshot["timeout_ms"] = 2 * LONG_AGO // timedelta(milliseconds=1)
    execution.started_at = at
    execution.save()
    begun(queued())

    watchdog.look()

    (told,) = Event.objects.filter(type="agent:stalled")
    assert told.execution_id == cycle.execution_id
