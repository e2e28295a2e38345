"""What nobody carries on is carried on, ended or given up, and never the work of somebody else."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from agents_app.cycle import ending, holder, watchdog
from agents_app.models import Cycle, CycleStage, CycleStatus
from executions_app import clock, lifecycle
from executions_app.models import Execution, Step
from executions_app.states import ExecutionStatus, LostRace
from tests.agents_app.agents import make_agent
from tests.agents_app.cycle.test_begin import begun, failed, planned, queued, queued_again

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(hours=1)


@pytest.fixture(autouse=True)
def somebody() -> None:
    make_agent("warmer")


def lost(cycle: Cycle, **changes: object) -> Step:
    """Its one step runs, and its worker is gone."""
    planned(cycle, "running")
    past = clock.now() - LONG_AGO
    held = {"lease_token": uuid4(), "lease_expires_at": past, "attempt": 1, **changes}
    Step.objects.filter(execution_id=cycle.execution_id).update(**held)
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
    failed(cycle)

    watchdog.look()
    watchdog.look()

    step.refresh_from_db()
    assert step.status == "cancelled"


def test_a_stage_whose_holder_is_lost_again_and_again_fails_the_attempt() -> None:
    cycle = begun(queued())
    held = {"stage_token": uuid4(), "stage_expires_at": clock.now() - LONG_AGO}
    Cycle.objects.filter(id=cycle.id).update(redriven=watchdog.MOST_STAGES_LOST, **held)

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
    Cycle.objects.filter(id=cycle.id).update(deadline=clock.now() - LONG_AGO)

    watchdog.look()

    execution = Execution.objects.get(id=cycle.execution_id)
    assert (execution.status, execution.outcome) == (ExecutionStatus.PENDING, "timeout")


def test_a_cycle_whose_execution_is_over_is_over() -> None:
    cycle = begun(queued())
    planned(cycle, "queued")
    lifecycle.leave_all([lifecycle.cancellation(holder.of(cycle))])

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

    ending.finish(cycle)

    assert Execution.objects.get(id=cycle.execution_id).status == ExecutionStatus.FAILED


def test_a_stage_that_somebody_carries_out_is_left_to_them() -> None:
    cycle = begun(queued())
    held = {"stage_token": uuid4(), "stage_expires_at": clock.now() + LONG_AGO}
    Cycle.objects.filter(id=cycle.id).update(updated_at=clock.now() - LONG_AGO, **held)

    watchdog.look()

    after = Cycle.objects.get(id=cycle.id)
    assert (after.stage, after.stage_token) == (CycleStage.PLAN, held["stage_token"])
