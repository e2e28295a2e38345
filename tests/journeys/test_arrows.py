"""One journey for every arrow that is built, on a real beat and a real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from errors_app import handling
from errors_app.models import ErrorRecord
from executions_app import lifecycle
from executions_app.audit import SYSTEM
from scheduler_app import envelopes
from scheduler_app import system as switch
from tests.journeys import scenario, test_approvals
from tests.journeys.arrows import NO_WAY_IN, WALKED, built, walks
from tests.journeys.scenario import NEVER, begun, letter, moves, one, reaches, retries, run, status
from tests.processes import SHORT_LEASE, System

pytestmark = pytest.mark.journey
ELSEWHERE = [test_approvals]
"""Imported, so that the arrows that their journeys walk count here."""


def test_every_built_arrow_of_an_execution_has_its_journey() -> None:
    assert WALKED["Execution"] == built("Execution"), f"beside these: {ELSEWHERE}"


def test_every_built_arrow_of_an_error_record_has_its_journey() -> None:
    assert WALKED["Error record"] == built("Error record") - NO_WAY_IN


@walks("Execution", "pending -> queued", "queued -> running", "running -> completed")
def test_an_execution_goes_from_pending_to_completed(system: System) -> None:
    switch.stop(SYSTEM)
    waiting = run()
    before = status(waiting)

    switch.start(SYSTEM)

    done = reaches(system, waiting, "completed")
    assert before == "pending"
    assert moves(waiting) == ["queued", "running", "completed"]
    assert (done.outcome, done.result, done.attempt) == ("ok", "done", 1)
    assert begun(system, waiting) == 1


@walks("Execution", "running -> pending")
@walks("Error record", "retry_scheduled -> retrying", "retrying -> resolved")
def test_a_failed_attempt_is_followed_by_another_and_its_error_is_resolved(
    system: System, gate: Path
) -> None:
    flaky = run({"fails": 1, "until": str(gate)}, retry_policy=retries(1, **scenario.SOON))

    system.until(lambda: one(flaky).attempt == 2, what="the second attempt runs")
    on_its_way = scenario.recovery_statuses(flaky)
    gate.touch()

    reaches(system, flaky, "completed")
    system.until(lambda: settled(flaky, "resolved"), what="the error is resolved")
    assert on_its_way == ["retrying"]
    assert moves(flaky) == ["queued", "running", "pending", "queued", "running", "completed"]


@walks("Execution", "running -> failed")
@walks("Error record", "retrying -> escalated")
def test_the_last_failed_attempt_gives_up_and_leaves_a_dead_letter(system: System) -> None:
    hopeless = run({"fails": 9}, retry_policy=retries(1))

    dead = reaches(system, hopeless, "failed")

    system.until(lambda: settled(hopeless, "escalated"), what="both errors are escalated")
    assert (dead.attempt, dead.outcome) == (2, "error")
    assert dead.dead_letter_at is not None
    assert letter(hopeless).attempts == 2
    assert len(scenario.errors(hopeless)) == 2


def test_an_error_that_trying_again_cannot_help_is_not_tried_again(system: System) -> None:
    wrong = run({"fails": 9, "error_class": "permanent"}, retry_policy=retries(3))

    assert reaches(system, wrong, "failed").attempt == 1


@walks("Execution", "failed -> pending")
@walks("Error record", "escalated -> retrying")
def test_a_person_retries_what_was_given_up_and_it_completes(system: System) -> None:
    execution = run({"fails": 1})
    reaches(system, execution, "failed")
    record = scenario.errors(execution)[0]

    handling.retry(record, actor=SYSTEM)

    reaches(system, execution, "completed")
    system.until(lambda: settled(execution, "resolved"), what="the error is resolved")
    assert one(execution).dead_letter_at is None
    assert moves(execution)[-4:] == ["pending", "queued", "running", "completed"]


def test_a_retry_before_the_end_was_noticed_is_not_taken_for_the_failure(system: System) -> None:
    beat = system.beat()
    beat.pause()
    execution = run({"fails": 1})
    reaches(system, execution, "failed")

    handling.retry(scenario.errors(execution)[0], actor=SYSTEM)
    beat.resume()

    reaches(system, execution, "completed")
    system.until(lambda: settled(execution, "resolved"), what="the error is resolved")


def test_a_person_requeues_a_dead_letter_and_it_completes(system: System) -> None:
    execution = run({"fails": 1})
    reaches(system, execution, "failed")

    handled = handling.requeue(letter(execution), actor=SYSTEM)

    assert reaches(system, execution, "completed").attempt == 2
    assert handled.handling == handling.REQUEUED
    system.until(lambda: settled(execution, "resolved"), what="the error is resolved")


@walks("Execution", "pending -> cancelled")
def test_what_is_pending_is_cancelled_at_once(system: System) -> None:
    switch.stop(SYSTEM)
    execution = run()

    answered = lifecycle.cancel(one(execution))

    assert answered == status(execution) == "cancelled"
    switch.start(SYSTEM)
    completes_another(system)
    assert begun(system, execution) == 0


@walks("Execution", "queued -> cancelled")
def test_what_is_queued_is_cancelled_and_its_message_runs_nothing(
    system: System, gate: Path
) -> None:
    busy = run({"until": str(gate)})
    reaches(system, busy, "running")
    execution = run()
    reaches(system, execution, "queued")

    answered = lifecycle.cancel(one(execution))
    gate.touch()

    completes_another(system)
    assert (answered, status(execution)) == ("cancelled", "cancelled")
    assert begun(system, execution) == 0


@walks("Execution", "running -> cancelled")
def test_what_runs_is_asked_to_stop_and_does(system: System, gate: Path) -> None:
    execution = run({"until": str(gate)})
    reaches(system, execution, "running")

    answered = lifecycle.cancel(one(execution))

    assert answered == "running"
    assert reaches(system, execution, "cancelled").outcome == "cancelled"
    assert scenario.errors(execution) == []


@walks("Execution", "running -> queued")
def test_a_job_that_kills_its_worker_costs_its_neighbours_no_attempt(
    system: System, tmp_path: Path
) -> None:
    system.worker().stop()
    killer = run({"dies_once": str(tmp_path / "died")})
    neighbours = [run(), run()]
    system.broker.delete("normal")
    slice_of_three = envelopes.build([[killer, *neighbours]], queue="normal")[0]
    system.broker.lpush("normal", slice_of_three)

    frail = system.worker("frail", threads=1, **SHORT_LEASE)
    frail.is_wanted = False
    system.until(lambda: not frail.is_alive(), what="it has died of its job")
    system.forget(frail.name)
    system.worker()

    for execution in (killer, *neighbours):
        done = reaches(system, execution, "completed")
        assert moves(execution) == ["queued", "running", "queued", "running", "completed"]
        assert (done.attempt, done.travels_alone) == (1, True)
        assert scenario.errors(execution) == []


@walks("Error record", "retry_scheduled -> retrying")
def test_a_person_does_not_wait_for_a_scheduled_retry(system: System) -> None:
    execution, record = waits_for_its_retry(system)

    handling.retry(record, actor=SYSTEM)

    assert reaches(system, execution, "completed").attempt == 2


@walks("Error record", "retry_scheduled -> ignored")
def test_cancelling_before_the_retry_ignores_the_error(system: System) -> None:
    execution, _ = waits_for_its_retry(system)

    lifecycle.cancel(one(execution))

    system.until(lambda: settled(execution, "ignored"), what="the error is ignored")


@walks("Error record", "retrying -> ignored")
def test_cancelling_during_the_retry_ignores_the_error(system: System, gate: Path) -> None:
    execution, _ = is_being_retried(system, gate)

    lifecycle.cancel(one(execution))

    system.until(lambda: settled(execution, "ignored"), what="the error is ignored")


BY_HAND = {
    "resolved": handling.resolve,
    "ignored": handling.ignore,
    "escalated": handling.escalate,
}


@walks(
    "Error record",
    "retry_scheduled -> resolved",
    "retry_scheduled -> ignored",
    "retry_scheduled -> escalated",
)
@pytest.mark.parametrize("wanted", BY_HAND)
def test_a_person_decides_about_an_error_whose_retry_is_scheduled(
    system: System, wanted: str
) -> None:
    _, record = waits_for_its_retry(system)

    BY_HAND[wanted](record, actor=SYSTEM, note="seen")

    record.refresh_from_db()
    assert (record.recovery_status, record.note) == (wanted, "seen")


@walks("Error record", "retrying -> resolved", "retrying -> ignored", "retrying -> escalated")
@pytest.mark.parametrize("wanted", BY_HAND)
def test_a_person_decides_about_an_error_that_is_being_retried_and_it_stays_so(
    system: System, gate: Path, wanted: str
) -> None:
    execution, record = is_being_retried(system, gate)

    BY_HAND[wanted](record, actor=SYSTEM)
    gate.touch()

    reaches(system, execution, "completed")
    completes_another(system)
    assert scenario.recovery_statuses(execution) == [wanted]


@walks("Error record", "escalated -> resolved", "escalated -> ignored")
@pytest.mark.parametrize("wanted", ["resolved", "ignored"])
def test_a_person_closes_an_escalated_error(system: System, wanted: str) -> None:
    execution = run({"fails": 9})
    reaches(system, execution, "failed")
    record = scenario.errors(execution)[0]

    BY_HAND[wanted](record, actor=SYSTEM)

    assert scenario.recovery_statuses(execution) == [wanted]
    assert status(execution) == "failed"


def waits_for_its_retry(system: System) -> tuple[Any, ErrorRecord]:
    execution = run({"fails": 1}, retry_policy=retries(1, **NEVER))
    system.until(lambda: scenario.errors(execution), what="the first attempt failed")
    record = scenario.errors(execution)[0]
    assert (status(execution), record.recovery_status) == ("pending", "retry_scheduled")
    return execution, record


def is_being_retried(system: System, gate: Path) -> tuple[Any, ErrorRecord]:
    execution = run({"fails": 1, "until": str(gate)}, retry_policy=retries(1, **scenario.SOON))
    system.until(lambda: one(execution).attempt == 2, what="the second attempt runs")
    record = scenario.errors(execution)[0]
    assert record.recovery_status == "retrying"
    return execution, record


def settled(execution_id: Any, wanted: str) -> list[str]:
    """The states of its error records once all are as wanted; empty before."""
    seen = scenario.recovery_statuses(execution_id)
    return seen if set(seen) == {wanted} else []


def completes_another(system: System) -> None:
    """Whatever was sent before this one has been dealt with after it: there is one thread."""
    reaches(system, run(), "completed")
