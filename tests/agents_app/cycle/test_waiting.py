"""A cycle that waits for an agent loses nothing by it: its time limit begins with its place."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import pytest

from agents_app.cycle import holder, watchdog
from agents_app.models import Agent, Cycle, CycleStage, CycleStatus
from errors_app import rescuer
from executions_app import clock, lifecycle
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from tests.agents_app.agents import make_agent
from tests.agents_app.cycle.driving import execution_of, stored
from tests.agents_app.cycle.test_begin import begun, failed, planned, queued, queued_again

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(hours=1)
LIMIT = timedelta(minutes=1)  # of what `queued` makes


@pytest.fixture(autouse=True)
def somebody() -> Agent:
    return make_agent("warmer", max_concurrent=1)


def waiting() -> tuple[Cycle, Cycle]:
    """Two cycles and one place; the second has waited for longer than its time limit."""
    first, second = begun(queued()), begun(queued())
    late(second)
    return first, second


def late(cycle: Cycle) -> None:
    at = clock.now() - LONG_AGO
    Cycle.objects.filter(id=cycle.id).update(look_at=at, updated_at=at, deadline=at)


def lease_of(cycle: Cycle) -> datetime:
    until = execution_of(cycle).lease_expires_at
    assert until is not None
    return until


def leased_for(cycle: Cycle, seconds: int) -> datetime:
    until = clock.now() + timedelta(seconds=seconds)
    Execution.objects.filter(id=cycle.execution_id).update(lease_expires_at=until)
    return until


def has_its_whole_time(cycle: Cycle, *, since: datetime) -> None:
    after = stored(cycle)
    assert after.deadline >= since + LIMIT
    assert lease_of(cycle) >= holder.lease_until(after.deadline)
    execution = execution_of(cycle)
    assert (execution.status, execution.attempt) == (ExecutionStatus.RUNNING, 1)


def test_a_cycle_outlives_its_time_limit_while_it_waits_and_has_all_of_it_with_its_place() -> None:
    first, second = waiting()

    watchdog.look()
    waits = stored(second)
    since = clock.now()
    failed(first)

    assert (waits.status, waits.stage) == (CycleStatus.RUNNING, CycleStage.WAIT)
    assert stored(second).stage == CycleStage.PLAN
    has_its_whole_time(second, since=since)


def test_a_cycle_that_the_watchdog_gives_a_place_has_its_whole_time_limit(somebody: Agent) -> None:
    _, second = waiting()
    Agent.objects.filter(id=somebody.id).update(max_concurrent=2)
    since = clock.now()

    watchdog.look()

    assert stored(second).stage == CycleStage.PLAN
    has_its_whole_time(second, since=since)


def test_a_cycle_that_goes_on_without_an_agent_has_its_whole_time_limit(somebody: Agent) -> None:
    _, second = waiting()
    Agent.objects.filter(id=somebody.id).update(enabled=False)
    since = clock.now()

    watchdog.look()

    assert (stored(second).stage, stored(second).agent_id) == (CycleStage.PLAN, None)
    has_its_whole_time(second, since=since)


def test_another_attempt_that_waits_outlives_its_time_limit_too() -> None:
    first = begun(queued())
    planned(first, "failed")
    failed(first)
    begun(queued())
    again = begun(queued_again(first.execution_id))
    late(again)

    watchdog.look()

    assert (stored(again).status, stored(again).stage) == (CycleStatus.RUNNING, CycleStage.WAIT)
    assert execution_of(again).attempt == 2


def test_a_cycle_that_has_waited_for_long_is_cancelled_when_somebody_asks_for_that() -> None:
    _, second = waiting()
    lifecycle.cancel(execution_of(second))

    watchdog.look()

    assert stored(second).status == CycleStatus.CANCELLED
    assert execution_of(second).status == ExecutionStatus.CANCELLED


def test_whoever_looks_at_a_waiting_cycle_renews_its_lease_before_the_rescuer_takes_it() -> None:
    _, second = waiting()
    before = leased_for(second, seconds=30)

    watchdog.look()

    assert lease_of(second) > before + LIMIT
    assert rescuer.rescue_lost(rng=Random(1)) == 0
    assert execution_of(second).status == ExecutionStatus.RUNNING


def test_a_lease_that_lasts_for_long_is_not_written_at_each_look() -> None:
    _, second = waiting()
    before = lease_of(second)

    watchdog.look()

    assert lease_of(second) == before


def test_a_cycle_waits_under_a_longer_lease_than_it_works_under() -> None:
    first, second = begun(queued()), begun(queued())

    assert lease_of(second) - stored(second).deadline > LONG_AGO
    assert lease_of(first) - stored(first).deadline < LONG_AGO


def test_who_was_looked_at_too_seldom_begins_under_a_lease_that_lasts() -> None:
    first, second = waiting()
    leased_for(second, seconds=5)
    since = clock.now()

    failed(first)

    has_its_whole_time(second, since=since)


def test_a_cycle_that_begins_at_once_has_the_deadline_that_it_began_with() -> None:
    execution_id = queued()
    since = clock.now()

    cycle = begun(execution_id)

    assert since + LIMIT <= cycle.deadline <= clock.now() + LIMIT
    assert lease_of(cycle) == holder.lease_until(cycle.deadline)
