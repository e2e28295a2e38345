"""A cycle that gives no sign of life is found, and told of once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from agents_app.cycle import monitor
from agents_app.models import Cycle, CycleStage, CycleStatus
from config.env import env
from executions_app import clock, ids
from executions_app.models import Event, Execution, Step
from executions_app.states import ExecutionStatus
from tests.agents_app.agents import make_agent, make_cycle
from tests.factories import ExecutionFactory

pytestmark = pytest.mark.django_db
LEASE = timedelta(seconds=env.lease_seconds)


def working(*, ago: timedelta, **changes: Any) -> Cycle:
    """A cycle whose execution began so long ago, and nobody did anything since."""
    at = clock.now() - ago
    execution = ExecutionFactory.create(status=ExecutionStatus.RUNNING)
    Execution.objects.filter(id=execution.id).update(started_at=at)
    words = {
        "stage": CycleStage.EXECUTE,
        "started_at": at,
        "execution_id": execution.id,
        "deadline": at + timedelta(milliseconds=execution.snapshot["timeout_ms"]),
    }
    return make_cycle(**{**words, **changes})


def step(cycle: Cycle, **changes: Any) -> None:
    at = clock.now() - 10 * LEASE
    words = {"position": 0, "name": "warm", "created_at": at, **changes}
    Step.objects.create(id=ids.new(clock.now()), execution_id=cycle.execution_id, **words)


def found() -> list[Any]:
    return [one.cycle_id for one in monitor.stalled(clock.now())]


def test_a_cycle_is_stalled_after_two_leases_without_a_sign_of_life() -> None:
    working(ago=1.9 * LEASE)
    later, longest = working(ago=2.1 * LEASE), working(ago=5 * LEASE)

    assert found() == [longest.id, later.id]


def test_who_renews_a_stage_or_a_step_or_ends_one_is_alive() -> None:
    now = clock.now()
    working(ago=5 * LEASE, stage_token=uuid4(), stage_expires_at=now)
    step(working(ago=5 * LEASE), status="running", lease_expires_at=now)
    step(working(ago=5 * LEASE), status="completed", completed_at=now - LEASE)
    silent = working(ago=5 * LEASE, stage_token=uuid4(), stage_expires_at=now - 2 * LEASE)
    step(silent, status="running", lease_expires_at=now - 3 * LEASE)

    assert found() == [silent.id]


def test_a_message_that_is_sent_again_is_no_sign_of_life() -> None:
    cycle = working(ago=5 * LEASE)
    Cycle.objects.filter(id=cycle.id).update(updated_at=clock.now(), redriven=20)

    assert found() == [cycle.id]


def test_who_waits_for_an_agent_or_is_over_is_not_stalled() -> None:
    working(ago=5 * LEASE, stage=CycleStage.WAIT)
    working(ago=5 * LEASE, status=CycleStatus.FAILED)

    assert found() == []


def test_a_stalled_cycle_is_told_of_once_per_silence() -> None:
    cycle = working(ago=5 * LEASE, agent_id=make_agent("one").id)
    step(cycle, status="completed")
    now = clock.now()

    told = [monitor.tell_of_stalled(now, among=[cycle.id]) for _ in range(2)]

    assert told == [1, 0]
    (event,) = Event.objects.filter(type="agent:stalled")
    assert event.execution_id == cycle.execution_id
    assert event.owner_id == cycle.owner_id
    assert (event.data["agent"], event.data["stage"]) == ("one", "execute")
    assert event.data["steps"] == {"done": 1, "total": 1}
    assert event.data["silent_seconds"] == (5 * LEASE).total_seconds()

    Event.objects.update(created_at=now - 6 * LEASE)  # of an earlier silence
    assert monitor.tell_of_stalled(now, among=[uuid4()]) == 0
    assert monitor.tell_of_stalled(now, among=[cycle.id]) == 1


def test_how_a_cycle_is_doing_is_said_by_its_execution() -> None:
    cycle = working(ago=LEASE, deadline=clock.now() - LEASE, redriven=2)
    step(cycle, status="completed")
    step(cycle, status="running")
    now = clock.now()

    watched = monitor.of_execution(cycle.execution_id)

    assert watched is not None
    assert (watched.stage, watched.steps_done, watched.steps_total) == ("execute", 1, 2)
    assert (watched.is_stalled(now), watched.is_overdue(now)) == (False, True)
    assert (watched.redriven, watched.is_asked_to_stop) == (2, False)
    assert monitor.of_execution(uuid4()) is None
