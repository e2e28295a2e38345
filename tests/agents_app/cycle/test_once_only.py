"""What may have been carried out is not carried out again, whatever the attempt failed of."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest

from agents_app.cycle import ending, rows, stages, watchdog
from agents_app.models import Cycle, CycleStage, CycleStatus
from errors_app import handling, rescuer
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock
from executions_app.audit import SYSTEM
from executions_app.models import Step
from executions_app.states import ExecutionStatus, StepStatus
from tests.agents_app.agents import make_agent
from tests.agents_app.cycle import driving  # noqa: F401  messages go to the Redis of the tests
from tests.agents_app.cycle.driving import execution_of, step_of, stored
from tests.agents_app.cycle.test_begin import begun, planned, queued, queued_again

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(hours=1)
ONCE = {"endpoint": {"retry": {"idempotent": False}}}


@pytest.fixture(autouse=True)
def somebody() -> None:
    make_agent("warmer")


def tried(may_repeat: bool | None) -> Cycle:
    """One step has ended well; the other has failed, and may have been carried out or not."""
    cycle = begun(queued())
    planned(cycle, "completed", "failed")
    Step.objects.filter(id=step_of(cycle, "s1").id).update(
        result={"error": "no answer came", "may_repeat": may_repeat}, error_class="timeout"
    )
    return cycle


def late(cycle: Cycle, **changes: object) -> None:
    at = clock.now() - LONG_AGO
    Cycle.objects.filter(id=cycle.id).update(look_at=at, updated_at=at, **changes)


def is_stopped(cycle: Cycle) -> None:
    """Its time is over, and the watchdog says so."""
    late(cycle, deadline=clock.now() - LONG_AGO)
    watchdog.look()


def summarises_late(cycle: Cycle) -> None:
    """Its last step took all the time there was."""
    rows.move(cycle, stage=CycleStage.SUMMARISE)
    late(cycle, deadline=clock.now() - LONG_AGO)
    stages.run_stage(cycle.id)


def loses_its_workers(cycle: Cycle) -> None:
    rows.move(cycle, stage=CycleStage.SUMMARISE)
    held = {"stage_token": uuid4(), "stage_expires_at": clock.now() - LONG_AGO}
    late(cycle, redriven=watchdog.MOST_STAGES_LOST, **held)
    watchdog.look()


def meets_a_defect(cycle: Cycle) -> None:
    ending.fail(cycle, RuntimeError("a defect"))


def is_released(cycle: Cycle) -> None:
    """Somebody ends the lease by hand."""
    rescuer.release(cycle.execution_id, actor=SYSTEM, rng=random.Random(1))


def test_a_lease_that_is_ended_by_hand_does_not_make_it_again_either() -> None:
    cycle = tried(may_repeat=False)

    is_released(cycle)

    assert execution_of(cycle).status == ExecutionStatus.FAILED
    assert DeadLetter.objects.get(execution_id=cycle.execution_id).error_class == "lost"


def test_a_lease_that_is_ended_by_hand_is_followed_by_another_attempt_where_nothing_happened() -> (
    None
):
    cycle = tried(may_repeat=True)

    is_released(cycle)

    assert execution_of(cycle).status == ExecutionStatus.PENDING


ENDS = pytest.mark.parametrize(
    ("fails", "error_class"),
    [
        (is_stopped, "timeout"),
        (summarises_late, "timeout"),
        (loses_its_workers, "lost"),
        (meets_a_defect, "unknown"),
    ],
)


@ENDS
def test_however_a_cycle_fails_a_step_that_may_have_been_carried_out_ends_it(
    fails: Callable[[Cycle], None], error_class: str
) -> None:
    cycle = tried(may_repeat=False)

    fails(cycle)

    assert stored(cycle).status == CycleStatus.FAILED
    assert execution_of(cycle).status == ExecutionStatus.FAILED
    letter = DeadLetter.objects.get(execution_id=cycle.execution_id)
    assert letter.error_class == error_class
    assert "is not made twice: 's1'" in letter.message
    record = ErrorRecord.objects.get(execution_id=cycle.execution_id)
    assert record.context["may_have_happened"] == ["s1"]
    assert "may have had its effect" in record.context["given_up"]


@pytest.mark.parametrize("may_repeat", [True, None])
@pytest.mark.parametrize("fails", [is_stopped, summarises_late, loses_its_workers])
def test_a_step_that_may_be_made_again_is_made_again(
    fails: Callable[[Cycle], None], may_repeat: bool | None
) -> None:
    cycle = tried(may_repeat=may_repeat)

    fails(cycle)

    assert execution_of(cycle).status == ExecutionStatus.PENDING
    assert not DeadLetter.objects.exists()
    again = begun(queued_again(cycle.execution_id))
    assert step_of(again, "s1").status == StepStatus.QUEUED


def test_a_call_that_is_to_be_made_once_and_whose_worker_was_lost_ends_it_too() -> None:
    cycle = begun(queued())
    planned(cycle, "running")
    past = clock.now() - LONG_AGO
    Step.objects.filter(execution_id=cycle.execution_id).update(
        config=ONCE, lease_token=uuid4(), lease_expires_at=past, attempt=1
    )

    is_stopped(cycle)

    assert execution_of(cycle).status == ExecutionStatus.FAILED
    assert "is not made twice: 's0'" in DeadLetter.objects.get().message


def test_what_the_raiser_said_of_itself_stays_as_it_is() -> None:
    cycle = tried(may_repeat=False)
    said = HandlerError("it said so", error_class=ErrorClass.TRANSIENT, may_repeat=False, step="s1")

    ending.fail(cycle, said)

    record = ErrorRecord.objects.get(execution_id=cycle.execution_id)
    assert (record.exception_type, record.message) == ("HandlerError", "it said so")
    assert "may_have_happened" not in record.context


def test_a_person_who_requeues_it_has_it_made_again() -> None:
    cycle = tried(may_repeat=False)
    is_stopped(cycle)

    handling.requeue_execution(execution_of(cycle), actor=SYSTEM)
    again = begun(queued_again(cycle.execution_id))

    assert step_of(again, "s0").status == StepStatus.COMPLETED
    assert step_of(again, "s1").status == StepStatus.QUEUED
