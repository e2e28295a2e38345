"""Every move of an execution: what it changes, what refuses it, what it leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from executions_app import clock, events, lifecycle, outbox
from executions_app.ledger import Claimed
from executions_app.models import Event, Execution, OutcomeInbox
from executions_app.states import ExecutionStatus, IllegalMove, LostRace, Outcome
from tests import verbs

pytestmark = pytest.mark.django_db

Create = Callable[..., UUID]
Claim = Callable[..., Claimed]


def stored(execution_id: UUID) -> Execution:
    return Execution.objects.get(id=execution_id)


def told(execution_id: UUID) -> list[str]:
    rows = Event.objects.filter(execution_id=execution_id).order_by("xid", "id")
    return sorted(rows.values_list("type", flat=True))


def stale(claimed: Claimed) -> Claimed:
    return dataclasses.replace(claimed, lease_token=uuid4())


def test_a_claim_takes_a_queued_execution_with_a_lease_and_one_more_attempt(create: Create) -> None:
    execution_id = create()

    (claimed,) = lifecycle.claim([execution_id], worker_id="worker-1")

    row = stored(execution_id)
    assert (row.status, row.attempt, row.worker_id) == ("running", 1, "worker-1")
    assert row.lease_token == claimed.lease_token
    assert row.lease_expires_at is not None
    assert row.lease_expires_at > clock.now()


def test_a_second_message_for_a_claimed_execution_gets_nothing(claim: Claim) -> None:
    claimed = claim()

    again = lifecycle.claim([claimed.id], worker_id="worker-2")

    assert again == []
    assert stored(claimed.id).attempt == 1


def test_a_message_that_names_an_execution_twice_claims_it_once(create: Create) -> None:
    execution_id = create()

    claimed = lifecycle.claim([execution_id, execution_id], worker_id="worker-1")

    assert [one.id for one in claimed] == [execution_id]


def test_a_pending_execution_cannot_be_claimed(create: Create) -> None:
    execution_id = create(status=ExecutionStatus.PENDING)

    assert lifecycle.claim([execution_id], worker_id="worker-1") == []


def test_an_execution_without_attempts_left_cannot_be_claimed(create: Create) -> None:
    execution_id = create(max_attempts=0)

    assert lifecycle.claim([execution_id], worker_id="worker-1") == []


def test_completing_records_the_result_the_inbox_row_and_the_event(claim: Claim) -> None:
    claimed = claim()

    verbs.complete(claimed, output={"answer": 42})

    row = stored(claimed.id)
    assert (row.status, row.outcome, row.result) == ("completed", "ok", {"answer": 42})
    assert row.lease_token is None
    assert row.completed_at is not None
    assert OutcomeInbox.objects.get(execution_id=claimed.id).status == "completed"
    assert told(claimed.id) == ["execution:completed", "execution:queued", "execution:started"]


@pytest.mark.parametrize(
    "move",
    [
        lambda one: verbs.complete(one, output=None),
        verbs.cancelled,
        verbs.hand_back,
        lifecycle.send_alone,
        lifecycle.stop_now,
        lambda one: lifecycle.report_progress(one, {"done": 1}),
        lambda one: lifecycle.retry_at(
            one, due_at=clock.now(), outcome=Outcome.ERROR, error_id=uuid4()
        ),
        lambda one: lifecycle.give_up(one, outcome=Outcome.ERROR, error_id=uuid4()),
    ],
    ids=["complete", "cancelled", "hand_back", "send_alone", "stop_now", "progress", "retry_at",
         "give_up"],
)  # fmt: skip
def test_who_lost_the_lease_changes_nothing(
    claim: Claim, move: Callable[[Claimed], object]
) -> None:
    claimed = claim()
    before = Execution.objects.filter(id=claimed.id).values().get()

    with pytest.raises(LostRace):
        move(stale(claimed))

    assert Execution.objects.filter(id=claimed.id).values().get() == before


def test_handing_back_returns_the_attempt(claim: Claim) -> None:
    claimed = claim()

    verbs.hand_back(claimed)

    row = stored(claimed.id)
    assert (row.status, row.attempt, row.travels_alone) == ("queued", 0, False)
    assert row.published_at is None


def test_a_neighbour_of_a_lost_worker_travels_alone_from_now_on(claim: Claim) -> None:
    claimed = claim()

    lifecycle.send_alone(claimed)

    row = stored(claimed.id)
    assert (row.status, row.attempt, row.travels_alone) == ("queued", 0, True)


def test_the_token_of_a_handed_back_execution_is_worth_nothing_later(claim: Claim) -> None:
    first = claim()
    verbs.hand_back(first)
    (second,) = lifecycle.claim([first.id], worker_id="worker-2")

    with pytest.raises(LostRace):
        verbs.complete(first, output="late")

    assert first.attempt == second.attempt
    assert stored(first.id).worker_id == "worker-2"


def test_a_retry_waits_until_it_is_due(claim: Claim) -> None:
    claimed, due_at = claim(), clock.now() + timedelta(hours=1)

    lifecycle.retry_at(claimed, due_at=due_at, outcome=Outcome.ERROR, error_id=uuid4())

    row = stored(claimed.id)
    assert (row.status, row.attempt, row.due_at) == ("pending", 1, due_at)
    assert verbs.queue_due(limit=10) == []


def test_giving_up_makes_a_dead_letter_of_the_execution(claim: Claim) -> None:
    claimed = claim()

    lifecycle.give_up(claimed, outcome=Outcome.TIMEOUT, error_id=uuid4())

    row = stored(claimed.id)
    assert (row.status, row.outcome) == ("failed", "timeout")
    assert row.dead_letter_at is not None


@pytest.mark.parametrize("status", [ExecutionStatus.PENDING, ExecutionStatus.QUEUED])
def test_what_has_not_started_is_cancelled_at_once(create: Create, status: ExecutionStatus) -> None:
    execution_id = create(status=status)

    now_is = lifecycle.cancel(stored(execution_id))

    row = stored(execution_id)
    assert now_is is ExecutionStatus.CANCELLED
    assert (row.status, row.outcome) == ("cancelled", "cancelled")
    assert OutcomeInbox.objects.filter(execution_id=execution_id).count() == 1


def test_what_runs_is_asked_to_stop(claim: Claim) -> None:
    claimed = claim()

    now_is = lifecycle.cancel(stored(claimed.id))

    assert now_is is ExecutionStatus.RUNNING
    assert lifecycle.cancel_requests([claimed.id]) == {claimed.id}


def test_what_has_ended_cannot_be_cancelled(claim: Claim) -> None:
    claimed = claim()
    verbs.complete(claimed, output=None)

    with pytest.raises(IllegalMove, match="cannot move from 'completed' to 'cancelled'"):
        lifecycle.cancel(stored(claimed.id))

    assert stored(claimed.id).status == "completed"


def test_a_cancelled_execution_is_never_overwritten_by_its_completion(claim: Claim) -> None:
    claimed = claim()
    lifecycle.cancel(stored(claimed.id))
    verbs.cancelled(claimed)

    with pytest.raises(LostRace):
        verbs.complete(claimed, output="too late")

    assert stored(claimed.id).status == "cancelled"


def test_requeueing_gives_a_failed_execution_a_new_budget(claim: Claim) -> None:
    claimed = claim(max_attempts=1)
    lifecycle.give_up(claimed, outcome=Outcome.ERROR, error_id=uuid4())

    requeued = lifecycle.requeue([claimed.id], budget=3)

    row = stored(claimed.id)
    assert requeued == {claimed.id}
    assert (row.status, row.attempt, row.max_attempts) == ("pending", 1, 4)
    assert row.dead_letter_at is None


def test_only_a_failed_execution_is_requeued(claim: Claim) -> None:
    claimed = claim()

    assert lifecycle.requeue([claimed.id], budget=3) == set()


def test_a_lease_is_renewed_only_for_its_holder(claim: Claim) -> None:
    mine, lost = claim(), claim()

    kept = lifecycle.renew({mine.id: mine.lease_token, lost.id: uuid4()})

    assert kept == {mine.id}
    assert stored(mine.id).lease_extensions == 1


def test_a_result_that_cannot_be_stored_as_it_is_is_made_storable(claim: Claim) -> None:
    claimed = claim()

    verbs.complete(claimed, output={"text": "a\x00b\ud800", "number": float("nan")})

    assert stored(claimed.id).status == "completed"


def test_a_result_that_is_too_large_is_cut_and_marked(claim: Claim) -> None:
    claimed = claim()

    verbs.complete(claimed, output="x" * 1_000_000)

    row = stored(claimed.id)
    assert row.result_truncated
    assert len(str(row.result)) < 300_000


def test_a_message_that_was_never_sent_is_sent_at_once(create: Create) -> None:
    execution_id = create()
    outbox.unpublish([execution_id])

    unsent = outbox.unsent(limit=10)

    assert unsent == [outbox.Message(execution_id, "normal")]
    assert outbox.unsent(limit=10) == []


def test_messages_of_other_queues_are_left_alone(create: Create) -> None:
    Execution.objects.filter(id=create()).update(published_at=Now() - timedelta(minutes=5))

    assert outbox.overdue(limit=10, grace_seconds=60, queues=["high"]) == []
    assert len(outbox.overdue(limit=10, grace_seconds=60, queues=["normal"])) == 1


def test_what_was_published_before_an_instant_is_unpublished_in_bounded_steps(
    create: Create,
) -> None:
    for _ in range(5):
        create()
    begin = clock.now() + timedelta(seconds=1)

    steps = [outbox.unpublish_before(begin, limit=2) for _ in range(4)]

    assert steps == [2, 2, 1, 0]
    assert len(outbox.unsent(limit=10)) == 5


def test_the_database_refuses_a_running_execution_without_a_lease(claim: Claim) -> None:
    claimed = claim()

    with pytest.raises(IntegrityError, match="execution_running_holds_lease"), transaction.atomic():
        Execution.objects.filter(id=claimed.id).update(lease_token=None)


def test_the_database_refuses_more_attempts_than_the_budget(claim: Claim) -> None:
    claimed = claim()

    with (
        pytest.raises(IntegrityError, match="execution_attempt_within_budget"),
        transaction.atomic(),
    ):
        Execution.objects.filter(id=claimed.id).update(attempt=5)


def test_an_agents_execution_is_told_under_its_own_names_too(create: Create) -> None:
    execution_id = create(snapshot={"name": "a", "task_type": "agent", "timeout_ms": 1000})
    (claimed,) = lifecycle.claim([execution_id], worker_id="worker-1")

    lifecycle.report_progress(claimed, {"done": 1, "total": 2})
    verbs.complete(claimed, output=None)

    expected = {"agent:started", "agent:progress", "agent:completed"}
    assert expected <= set(told(execution_id))
    assert set(told(execution_id)) <= set(events.TYPES)
