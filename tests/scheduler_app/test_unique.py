"""Unique work: who comes second finds the work there, puts it off, or takes its place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from executions_app import clock, ids, lifecycle, retention, uniqueness
from executions_app.ledger import Leave
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app import dispatcher, holds
from scheduler_app.limiting import unique
from scheduler_app.limiting.unique import Duplicate, Granted, Wish
from scheduler_app.models import UniqueMode, UniqueWork
from tests import terminal
from tests.factories import ExecutionFactory, UserFactory

MINUTE, MINUTE_MS = timedelta(minutes=1), 60_000
THREADS = 8


def come(
    owner: User,
    mode: UniqueMode = UniqueMode.WHILE_ACTIVE,
    *,
    key: str = "order:7",
    now: datetime | None = None,
    parameters: dict[str, Any] | None = None,
) -> Granted | Duplicate:
    """Ask for an execution of the key, and make it if it is granted."""
    with transaction.atomic():
        at = now or clock.now()
        wish = Wish(ids.new(at), owner.pk, key, mode, MINUTE_MS, parameters or {})
        answer = unique.enter(wish, now=at)
        if isinstance(answer, Granted):
            ExecutionFactory.create(
                id=answer.execution_id,
                owner=owner,
                status=ExecutionStatus.PENDING,
                unique_key=key,
                parameters=parameters or {},
                due_at=answer.due_at or at,
                held_by=answer.held_by,
            )
    return answer


def queue() -> None:
    with transaction.atomic():
        holds.release(limit=100)


def run(execution_id: UUID) -> None:
    queue()
    assert lifecycle.claim([execution_id], worker_id="w:1:x")


def end(execution_id: UUID) -> None:
    row = Execution.objects.get(id=execution_id)
    if row.status != ExecutionStatus.RUNNING:
        run(execution_id)
        row.refresh_from_db()
    assert row.lease_token is not None
    lifecycle.leave_now(Leave(row.id, row.lease_token, ExecutionStatus.COMPLETED, outcome="ok"))


def status(execution_id: UUID) -> str:
    return Execution.objects.get(id=execution_id).status


@pytest.mark.django_db
def test_while_active_answers_the_one_that_has_not_ended(owner: User) -> None:
    first = come(owner)

    while_pending = come(owner)
    run(first.execution_id)
    while_running = come(owner)
    end(first.execution_id)
    afterwards = come(owner)

    assert [while_pending, while_running] == [Duplicate(first.execution_id)] * 2
    assert isinstance(afterwards, Granted)


@pytest.mark.django_db
def test_keys_of_others_and_other_keys_are_not_in_the_way(owner: User) -> None:
    come(owner)

    answers = [come(UserFactory.create()), come(owner, key="order:8")]

    assert all(isinstance(one, Granted) for one in answers)


@pytest.mark.django_db
def test_for_time_keeps_the_key_even_after_the_end(owner: User) -> None:
    now = clock.now()
    first = come(owner, UniqueMode.FOR_TIME, now=now)
    end(first.execution_id)

    within = come(owner, UniqueMode.FOR_TIME, now=now + MINUTE - MINUTE / 60)
    after = come(owner, UniqueMode.FOR_TIME, now=now + MINUTE)

    assert within == Duplicate(first.execution_id)
    assert isinstance(after, Granted)


@pytest.mark.django_db
def test_debounce_puts_the_waiting_one_off_with_the_last_parameters(owner: User) -> None:
    now = clock.now()
    first = come(owner, UniqueMode.DEBOUNCE, now=now, parameters={"call": 1})

    again = come(owner, UniqueMode.DEBOUNCE, now=now + MINUTE / 2, parameters={"call": 2})

    row = Execution.objects.get(id=first.execution_id)
    assert again == Duplicate(first.execution_id)
    assert (row.due_at, row.parameters) == (now + MINUTE / 2 + MINUTE, {"call": 2})


@pytest.mark.django_db
def test_debounce_ends_at_last_however_often_it_is_called(owner: User) -> None:
    now = clock.now()
    first = come(owner, UniqueMode.DEBOUNCE, now=now)

    for minutes in range(1, 15):
        come(owner, UniqueMode.DEBOUNCE, now=now + minutes * MINUTE)

    assert Execution.objects.get(id=first.execution_id).due_at == now + 10 * MINUTE


@pytest.mark.django_db
def test_debounce_begins_anew_once_the_waiting_one_is_queued(owner: User) -> None:
    first = come(owner, UniqueMode.DEBOUNCE, now=clock.now() - 2 * MINUTE)
    queue()

    then = come(owner, UniqueMode.DEBOUNCE)

    assert status(first.execution_id) == "queued"
    assert isinstance(then, Granted)


@pytest.mark.django_db
def test_what_is_put_off_while_it_waits_for_room_asks_again_when_it_is_due(owner: User) -> None:
    first = come(owner, UniqueMode.DEBOUNCE)
    Execution.objects.filter(id=first.execution_id).update(held_by="limit:system")

    come(owner, UniqueMode.DEBOUNCE)

    assert Execution.objects.get(id=first.execution_id).held_by == ""


@pytest.mark.django_db
def test_replace_ends_what_has_not_started(owner: User) -> None:
    first = come(owner, UniqueMode.REPLACE)

    second = come(owner, UniqueMode.REPLACE)

    assert isinstance(second, Granted)
    assert (status(first.execution_id), second.held_by) == ("cancelled", "")


@pytest.mark.django_db
def test_replace_waits_for_what_runs_and_was_asked_to_stop(owner: User) -> None:
    first = come(owner, UniqueMode.REPLACE)
    run(first.execution_id)

    second = come(owner, UniqueMode.REPLACE)
    third = come(owner, UniqueMode.REPLACE)
    early = unique.release(limit=10)
    end(first.execution_id)
    then = unique.release(limit=10)
    queue()

    running = Execution.objects.get(id=first.execution_id)
    assert running.cancel_requested_at is not None
    assert (early, then) == (0, 1)
    assert status(second.execution_id) == "cancelled"
    assert status(third.execution_id) == "queued"


@pytest.mark.django_db
def test_who_looks_for_room_does_not_look_for_keys(owner: User) -> None:
    first = come(owner, UniqueMode.REPLACE)
    run(first.execution_id)
    second = come(owner, UniqueMode.REPLACE)
    end(first.execution_id)

    with CaptureQueriesContext(connection) as looked:
        dispatcher.release_held(holds.Held())

    waiting = Execution.objects.get(id=second.execution_id)
    assert waiting.held_by == "unique:order:7"
    assert not any("unique" in one["sql"] for one in looked.captured_queries)


@pytest.mark.django_db
def test_a_round_by_hand_lets_go_what_waited_for_work_of_its_key(owner: User) -> None:
    first = come(owner, UniqueMode.REPLACE)
    run(first.execution_id)
    second = come(owner, UniqueMode.REPLACE)
    end(first.execution_id)

    terminal.run("scheduler", "tick")

    assert status(second.execution_id) == "queued"


@pytest.mark.django_db
def test_what_is_put_off_still_waits_for_what_it_replaces(owner: User) -> None:
    first = come(owner, UniqueMode.REPLACE)
    run(first.execution_id)
    second = come(owner, UniqueMode.REPLACE)

    third = come(owner, UniqueMode.DEBOUNCE)

    assert third == Duplicate(second.execution_id)
    assert Execution.objects.get(id=second.execution_id).held_by == "unique:order:7"


@pytest.mark.django_db
def test_of_very_many_keys_the_next_are_looked_at_each_time(owner: User) -> None:
    keys = ["a", "b", "c"]
    running = [come(owner, UniqueMode.REPLACE, key=key).execution_id for key in keys]
    queue()
    assert len(lifecycle.claim(running, worker_id="w:1:x")) == len(keys)
    for key in keys:
        come(owner, UniqueMode.REPLACE, key=key)
    end(running[-1])
    waiting = unique.Waiting()

    freed = [(waiting.release(limit=2), waiting.has_more) for _ in range(2)]

    assert freed == [(0, True), (1, False)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", list(UniqueMode))
def test_of_many_that_come_at_once_one_is_made_or_left(owner: User, mode: UniqueMode) -> None:
    def one(_number: int) -> Granted | Duplicate:
        try:
            return come(owner, mode)
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(one, range(THREADS)))

    left = Execution.objects.exclude(status="cancelled")
    granted = [answer for answer in answers if isinstance(answer, Granted)]
    assert left.count() == 1
    assert len(granted) == (THREADS if mode is UniqueMode.REPLACE else 1)


@pytest.mark.django_db
@pytest.mark.parametrize("mode", list(UniqueMode))
def test_several_are_entered_at_once_and_two_of_a_key_are_one(
    owner: User, mode: UniqueMode
) -> None:
    now = clock.now()
    keys = ["b", "a", "b"]
    wishes = [Wish(ids.new(now), owner.pk, key, mode, MINUTE_MS) for key in keys]

    answers = unique.enter_all(wishes, now=now)

    kinds = [type(answers[one.execution_id]) for one in wishes]
    assert kinds == [Granted, Granted, Duplicate]


def test_the_place_of_a_key_is_named_after_it() -> None:
    assert uniqueness.held_by("order:7") == "unique:order:7"


@pytest.mark.django_db
def test_the_memory_of_a_key_goes_a_day_after_it_is_free(owner: User) -> None:
    ended, active = come(owner, key="ended"), come(owner, key="active")
    end(ended.execution_id)
    later = clock.now() + timedelta(hours=25)

    retention.apply(clock.now())
    today = set(UniqueWork.objects.values_list("execution_id", flat=True))
    retention.apply(later)
    tomorrow = set(UniqueWork.objects.values_list("execution_id", flat=True))

    assert today == {ended.execution_id, active.execution_id}
    assert tomorrow == {active.execution_id}
