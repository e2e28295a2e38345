"""Group commit: one statement for many threads, and one bad request fails alone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from uuid import UUID

import pytest
from django.db import DataError, OperationalError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executions_app import ledger, lifecycle, prepared
from executions_app.ledger import Claim, Claimed, GroupCommit, Leave
from executions_app.models import Execution, OutcomeInbox
from executions_app.states import ExecutionStatus, LostRace
from tests import verbs

WRITERS = 6


def in_threads(work: Callable[[int], None], *, count: int) -> None:
    def closing(number: int) -> None:
        try:
            work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(closing, number) for number in range(count)]:
            future.result()


def test_requests_that_arrive_together_share_a_commit() -> None:
    batches: list[list[int]] = []
    first_is_writing, may_go_on = threading.Event(), threading.Event()

    def write(requests: Sequence[int]) -> list[int]:
        batches.append(list(requests))
        first_is_writing.set()
        may_go_on.wait(10)
        return [10 * one for one in requests]

    group = GroupCommit[int, int](write)
    answers: dict[int, int] = {}

    def submit(number: int) -> None:
        answers[number] = group.submit(number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "durable", lambda write: write())
        threads = [threading.Thread(target=submit, args=[number]) for number in range(5)]
        threads[0].start()
        first_is_writing.wait(10)
        for one in threads[1:]:
            one.start()
        while len(group._waiting) < 4:
            threading.Event().wait(0.001)
        may_go_on.set()
        for one in threads:
            one.join(10)

    assert batches[0] == [0]
    assert sorted(batches[1]) == [1, 2, 3, 4]
    assert answers == {number: 10 * number for number in range(5)}


@pytest.mark.django_db(transaction=True)
def test_one_unstorable_result_in_a_batch_of_200_fails_alone(
    claim: Callable[..., Claimed],
) -> None:
    claimed = [claim() for _ in range(200)]
    bad = claimed[117]
    moves = [
        Leave(
            one.id,
            one.lease_token,
            ExecutionStatus.COMPLETED,
            "ok",
            result='"\\u0000"' if one is bad else '"fine"',
        )
        for one in claimed
    ]

    answers = GroupCommit[Leave, bool](ledger.leave).submit_all(moves)

    refused = [move for move, one in zip(moves, answers, strict=True) if one is not True]
    assert [one.execution_id for one in refused] == [bad.id]
    assert isinstance(answers[moves.index(refused[0])], DataError)
    by_status = Counter(Execution.objects.values_list("status", flat=True))
    assert by_status == {"completed": 199, "running": 1}


@pytest.mark.django_db
def test_what_one_commit_has_stored_is_answered_although_the_next_one_fails() -> None:
    def write(batch: Sequence[int]) -> list[int]:
        if 3 in batch:
            raise OperationalError("gone")
        return list(batch)

    first, second, third = GroupCommit[int, int](write, most=2).submit_all([1, 2, 3])

    assert (first, second) == (1, 2)
    assert isinstance(third, OperationalError)


@pytest.mark.django_db(transaction=True)
def test_six_writers_on_overlapping_rows_never_deadlock(create: Callable[..., UUID]) -> None:
    ids = [create() for _ in range(60)]
    claims: Counter[UUID] = Counter()
    guard = threading.Lock()

    def claim_all(number: int) -> None:
        order = ids.copy()
        Random(number).shuffle(order)
        for start in range(0, len(order), 20):
            requests = [Claim(one, f"worker-{number}") for one in order[start : start + 20]]
            taken = ledger.durable(partial(ledger.claim, requests, lease_seconds=30))
            with guard:
                claims.update(one.id for one in taken if one)

    in_threads(claim_all, count=WRITERS)

    assert claims == Counter(dict.fromkeys(ids, 1))


@pytest.mark.django_db(transaction=True)
def test_a_row_that_changes_while_its_claim_waits_for_it_brings_nobody_down(
    create: Callable[..., UUID],
) -> None:
    ids = sorted(create() for _ in range(300))
    requests = [Claim(one, "worker") for one in ids]

    with ThreadPoolExecutor() as threads:
        with transaction.atomic():
            Execution.objects.filter(id__in=ids[100:103]).update(parameters={"changed": True})
            claiming = threads.submit(claim_in_a_thread, requests)
            wait_until_somebody_waits_for_a_lock()
        claimed = claiming.result()

    assert [one.id for one in claimed if one] == ids


def claim_in_a_thread(requests: Sequence[Claim]) -> list[Claimed | None]:
    try:
        return ledger.durable(partial(ledger.claim, requests, lease_seconds=30))
    finally:
        connection.close()


def wait_until_somebody_waits_for_a_lock() -> None:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        if prepared.execute(waiting).fetchone() != (0,):
            return
    raise AssertionError("nobody waits for a lock")


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_with_the_same_message_one_runs_it(create: Callable[..., UUID]) -> None:
    execution_id = create()
    winners: list[str] = []

    def claim_it(number: int) -> None:
        winners.extend(
            one.worker_id for one in lifecycle.claim([execution_id], worker_id=f"worker-{number}")
        )

    in_threads(claim_it, count=WRITERS)

    assert len(winners) == 1
    assert Execution.objects.get(id=execution_id).attempt == 1


@pytest.mark.django_db(transaction=True)
def test_of_cancel_and_complete_exactly_one_wins(claim: Callable[..., Claimed]) -> None:
    for _ in range(10):
        claimed = claim()
        outcomes: list[str] = []

        def finish(number: int, one: Claimed = claimed, won: list[str] = outcomes) -> None:
            try:
                if number:
                    verbs.cancelled(one)
                else:
                    verbs.complete(one, output=1)
            except LostRace:
                return
            won.append("cancelled" if number else "completed")

        in_threads(finish, count=2)

        assert [Execution.objects.get(id=claimed.id).status] == outcomes
        assert OutcomeInbox.objects.filter(execution_id=claimed.id).count() == 1


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00"))))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.django_db
def test_an_array_reaches_postgresql_as_it_is(values: list[str | None]) -> None:
    read_back = prepared.execute("SELECT %s::text[]", [prepared.array(values)]).fetchone()

    assert read_back == (values,)
