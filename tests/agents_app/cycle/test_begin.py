"""Where a cycle begins: with a place of its agent, and again with what an earlier attempt left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction

from agents_app.cycle import begin, canvas, ending, holder, places, rows
from agents_app.models import Cycle, CycleStage, CycleStatus, Tier
from errors_app import recovery
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, ids, lifecycle, steps
from executions_app.ledger import Claimed
from executions_app.models import Execution, Step
from executions_app.states import ExecutionStatus, LostRace
from tests.agents_app.agents import make_agent
from tests.factories import ExecutionFactory

pytestmark = pytest.mark.django_db(transaction=True)

CONFIG: dict[str, Any] = {"goal": "keep it warm", "endpoints": ["alpha"]}


def queued(**config: Any) -> UUID:
    snapshot = {
        "name": "warm",
        "task_type": "agent",
        "task_config": {**CONFIG, **config},
        "timeout_ms": 60_000,
        "retry_policy": {"max_retries": 3},
    }
    return ExecutionFactory.create(snapshot=snapshot).id


def begun(execution_id: UUID) -> Cycle:
    (held,) = lifecycle.claim([execution_id], worker_id="a worker")
    begin.begin(held, holder.config_of(held))
    return Cycle.objects.get(execution_id=execution_id)


def queued_again(execution_id: UUID) -> UUID:
    """As the dispatcher does once the retry is due."""
    Execution.objects.filter(id=execution_id).update(status=ExecutionStatus.QUEUED)
    return execution_id


def failed(cycle: Cycle) -> None:
    ending.fail(cycle, HandlerError("a hiccup", error_class=ErrorClass.TRANSIENT))


def planned(cycle: Cycle, *statuses: str) -> None:
    """The model has planned, and its steps came so far."""
    stream = ids.stream(clock.now())
    new = [
        steps.NewStep(id=next(stream), position=at, wave=0, name=f"s{at}", config={})
        for at in range(len(statuses))
    ]
    steps.plan(cycle.execution_id, new)
    for one, status in zip(new, statuses, strict=True):
        Step.objects.filter(id=one.id).update(status=status)
    rows.move(cycle, tier=Tier.MODEL, stage=CycleStage.EXECUTE)


def test_a_cycle_holds_the_lease_of_its_execution_beyond_its_deadline() -> None:
    make_agent("warmer")

    cycle = begun(queued())

    execution = Execution.objects.get(id=cycle.execution_id)
    assert (cycle.stage, cycle.token) == (CycleStage.PLAN, execution.lease_token)
    assert execution.lease_expires_at is not None
    assert execution.lease_expires_at > cycle.deadline


def test_a_cycle_waits_while_all_places_are_taken_and_begins_when_one_is_free() -> None:
    make_agent("warmer", max_concurrent=1)
    first, second = begun(queued()), begun(queued())
    waited = second.stage

    failed(first)

    second.refresh_from_db()
    assert (waited, second.stage) == (CycleStage.WAIT, CycleStage.PLAN)


def test_a_place_is_the_next_ones_in_the_moment_in_which_its_holder_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_agent("warmer", max_concurrent=1)
    first, second, third = (begun(queued()) for _ in range(3))

    with transaction.atomic():
        rows.close(first, CycleStatus.COMPLETED)
        with elsewhere() as other:  # gives the second one a place of another agent just now
            other.execute("SELECT FROM cycles WHERE id = %s FOR UPDATE", [second.id])
            heir = places.hand_over(first)
        nobody = places.hand_over(first)

    assert heir is not None
    assert (heir.id, heir.stage, nobody) == (third.id, CycleStage.PLAN, None)
    second.refresh_from_db()
    third.refresh_from_db()
    assert (second.stage, third.stage) == (CycleStage.WAIT, CycleStage.PLAN)
    assert third.agent_id == first.agent_id
    assert [one for one in caplog.records if one.name == places.__name__] == []


def test_of_many_that_end_at_once_each_hands_its_place_to_another() -> None:
    make_agent("warmer", max_concurrent=6)
    at_work, in_line = ([begun(queued()) for _ in range(count)] for count in (6, 9))

    for expected in (6, 3):  # as many as there are places, and then as many as are left
        all_at_once(failed, at_work)

        for one in in_line:
            one.refresh_from_db()
        at_work = [one for one in in_line if one.stage == CycleStage.PLAN]
        in_line = [one for one in in_line if one.stage == CycleStage.WAIT]
        assert len(at_work) == expected
        assert all(one.agent_id for one in at_work)
    assert in_line == []


def all_at_once(act: Callable[[Cycle], None], cycles: Sequence[Cycle]) -> None:
    begin = Barrier(len(cycles))

    def acts(cycle: Cycle) -> None:
        begin.wait(30)
        try:
            act(cycle)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(cycles)) as pool:
        list(pool.map(acts, cycles))


def test_a_cycle_is_locked_in_a_transaction_or_not_at_all() -> None:
    make_agent("warmer")
    cycle = begun(queued())

    for lock in (rows.lock, rows.share):
        with pytest.raises(AssertionError):
            lock(cycle.id)


def test_who_cannot_begin_keeps_nobody_from_ending_and_nobody_from_the_place() -> None:
    make_agent("warmer", max_concurrent=1)
    first, broken, lost, last = (begun(queued()) for _ in range(4))
    nonsense: dict[str, Any] = {"task_config": {"capabilities": []}}
    Execution.objects.filter(id=broken.execution_id).update(snapshot=nonsense)
    hiccup = HandlerError("a hiccup", error_class=ErrorClass.TRANSIENT)
    recovery.recover(holder.of(lost), hiccup, rng=Random(1))  # and its worker died there

    failed(first)

    for one in (first, broken, lost, last):
        one.refresh_from_db()
    assert (first.status, last.stage) == (CycleStatus.FAILED, CycleStage.PLAN)
    assert {broken.stage, lost.stage} == {CycleStage.WAIT}


def test_who_has_the_place_is_sent_to_a_worker_and_what_fails_there_is_not_the_ended_cycles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_agent("warmer", max_concurrent=1)
    first, second = begun(queued()), begun(queued())
    sent: list[UUID] = []

    def stage(cycle: Cycle) -> None:
        sent.append(cycle.id)
        raise RuntimeError("a defect")

    monkeypatch.setattr(canvas, "stage", stage)
    failed(first)

    first.refresh_from_db()
    assert (first.status, sent) == (CycleStatus.FAILED, [second.id])


@contextmanager
def elsewhere() -> Iterator[psycopg.Cursor[Any]]:
    """A transaction of another process, taken back in the end."""
    info = connection.connection.info
    with psycopg.connect(info.dsn, password=info.password) as other, other.cursor() as cursor:
        yield cursor
        other.rollback()


def test_without_any_agent_a_cycle_does_not_wait() -> None:
    cycle = begun(queued())

    assert (cycle.stage, cycle.agent_id) == (CycleStage.PLAN, None)
    assert "There is no agent" in cycle.tier_reason


def test_another_attempt_takes_a_place_like_everybody() -> None:
    make_agent("warmer", max_concurrent=1)
    first = begun(queued())
    planned(first, "failed")
    failed(first)
    begun(queued())

    again = begun(queued_again(first.execution_id))

    assert (again.stage, again.agent_id) == (CycleStage.WAIT, None)


def test_another_attempt_goes_on_with_what_did_not_end_well() -> None:
    make_agent("warmer")
    first = begun(queued())
    planned(first, "completed", "failed", "skipped")
    failed(first)
    ended = Cycle.objects.get(id=first.id)

    again = begun(queued_again(first.execution_id))

    assert ended.status == CycleStatus.FAILED
    assert (again.id, again.stage, again.status) == (first.id, "execute", CycleStatus.RUNNING)
    assert again.token != first.token
    found = Step.objects.filter(execution_id=again.execution_id).order_by("position")
    assert [one.status for one in found] == ["completed", "queued", "queued"]


def test_what_an_earlier_attempt_holds_moves_nothing_any_more() -> None:
    make_agent("warmer")
    first = begun(queued())
    failed(first)
    begun(queued_again(first.execution_id))

    with pytest.raises(LostRace, match="is over, or another's"):
        failed(first)

    assert Cycle.objects.get(id=first.id).status == CycleStatus.RUNNING


def test_the_lease_of_a_cycle_is_not_shortened_by_a_late_renewal() -> None:
    make_agent("warmer")
    execution_id = queued()
    (held,) = lifecycle.claim([execution_id], worker_id="a worker")
    begin.begin(held, holder.config_of(held))
    before = lease_of(held)

    lifecycle.renew({held.id: held.lease_token})

    assert lease_of(held) == before


def lease_of(held: Claimed) -> object:
    return Execution.objects.get(id=held.id).lease_expires_at
