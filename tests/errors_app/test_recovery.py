"""A failed attempt: recorded once, tried again as its class and policy say, or given up."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now

from errors_app import decision, handling, recovery, rescuer, taxonomy
from errors_app.backoff import RetryPolicy
from errors_app.decision import GiveUp, RetryAt
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.recovery import Stopped
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, lifecycle
from executions_app.audit import Actor
from executions_app.ledger import Claimed
from executions_app.models import AuditEntry, Event, Execution, SystemState
from executions_app.states import ExecutionStatus, IllegalMove, LostRace
from tests import verbs

Held = Callable[..., Claimed]
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
RNG = random.Random(7)


def failing(
    error_class: ErrorClass = ErrorClass.TRANSIENT,
    *,
    retry_after: float | None = None,
    not_before: float | None = None,
) -> HandlerError:
    message = "the endpoint answered 503"
    return HandlerError(
        message, error_class=error_class, retry_after=retry_after, not_before=not_before
    )


def decide(
    error: BaseException, *, attempt: int = 1, max_attempts: int = 4, **policy: object
) -> decision.Decision:
    return decision.decide(
        taxonomy.classify(error),
        attempt=attempt,
        max_attempts=max_attempts,
        policy=RetryPolicy.model_validate(policy),
        now=NOON,
        rng=RNG,
    )


def stored(execution_id: UUID) -> Execution:
    return Execution.objects.get(id=execution_id)


@pytest.mark.parametrize("error_class", [ErrorClass.TRANSIENT, ErrorClass.TIMEOUT, ErrorClass.LOST])
def test_retryable_classes_are_tried_again_within_the_backoff(error_class: ErrorClass) -> None:
    decision = decide(failing(error_class))

    assert isinstance(decision, RetryAt)
    assert NOON <= decision.due_at <= NOON + timedelta(seconds=1)


@pytest.mark.parametrize(
    "error_class",
    [ErrorClass.PERMANENT, ErrorClass.MALFORMED, ErrorClass.RESOURCE, ErrorClass.UNKNOWN],
)
def test_other_classes_are_given_up_at_once(error_class: ErrorClass) -> None:
    decision = decide(failing(error_class))

    assert isinstance(decision, GiveUp)
    assert error_class.value in decision.reason


def test_a_schedule_may_name_its_own_retryable_classes() -> None:
    decision = decide(ValueError("odd"), retryable_classes=["unknown"])

    assert isinstance(decision, RetryAt)


def test_the_last_attempt_is_given_up() -> None:
    assert isinstance(decide(failing(), attempt=4), GiveUp)


@pytest.mark.parametrize("strategy", ["exponential", "linear", "fixed"])
def test_the_usual_policy_tries_again_within_a_second(strategy: str) -> None:
    for _ in range(100):
        decision = decide(failing(), strategy=strategy)
        assert isinstance(decision, RetryAt)
        assert decision.due_at - NOON <= timedelta(seconds=1)


def test_a_longer_base_that_a_person_wrote_is_obeyed() -> None:
    decision = decide(failing(), base_ms=300_000, jitter="none")

    assert decision == RetryAt(NOON + timedelta(minutes=5))


def test_retry_after_is_a_floor_under_the_backoff() -> None:
    decision = decide(failing(retry_after=30.0))

    assert decision == RetryAt(NOON + timedelta(seconds=30))


def test_retry_after_never_exceeds_the_cap_of_the_policy() -> None:
    decision = decide(failing(retry_after=86_400.0), cap_ms=60_000)

    assert decision == RetryAt(NOON + timedelta(seconds=60))


@pytest.mark.parametrize("retry_after", [None, 86_400.0])
def test_no_cap_lets_an_attempt_begin_while_the_one_before_may_still_run(
    retry_after: float | None,
) -> None:
    decision = decide(failing(not_before=7.0, retry_after=retry_after), cap_ms=1)

    assert decision == RetryAt(NOON + timedelta(seconds=7))


def test_a_longer_backoff_than_the_one_before_may_still_run_is_kept() -> None:
    decision = decide(failing(not_before=7.0), base_ms=60_000, jitter="none")

    assert decision == RetryAt(NOON + timedelta(minutes=1))


def test_no_attempt_follows_one_that_nobody_can_end() -> None:
    decision = decide(failing(ErrorClass.TIMEOUT, not_before=math.inf))

    assert isinstance(decision, GiveUp)
    assert "may still run" in decision.reason


@pytest.mark.parametrize("cap_ms", [1, 100, 499])
@pytest.mark.parametrize("strategy", ["exponential", "linear", "fixed", "adaptive"])
def test_a_cap_of_less_than_half_a_second_bounds_every_wait(strategy: str, cap_ms: int) -> None:
    for attempt, asked in ((1, None), (3, None), (1, 30.0), (3, 86_400.0)):
        decision = decide(
            failing(retry_after=asked), attempt=attempt, strategy=strategy, cap_ms=cap_ms
        )

        assert isinstance(decision, RetryAt)
        assert timedelta() <= decision.due_at - NOON <= timedelta(milliseconds=cap_ms)


@pytest.mark.django_db
def test_a_failed_attempt_leaves_a_record_and_a_later_due_time(held: Held) -> None:
    claimed = held()

    decision = recovery.recover(claimed, failing(), rng=RNG)

    record = ErrorRecord.objects.get(execution_id=claimed.id)
    row = stored(claimed.id)
    assert isinstance(decision, RetryAt)
    assert (row.status, row.attempt, row.due_at) == ("pending", 1, decision.due_at)
    assert (record.attempt, record.error_class) == (1, "transient")
    assert (record.recovery_status, record.retry_at) == ("retry_scheduled", decision.due_at)
    assert record.worker_id == "worker-1"
    assert record.started_at is not None
    assert "the endpoint answered 503" in record.message
    assert row.last_error_id == record.id
    assert Event.objects.filter(type="error:recorded").count() == 1


@pytest.mark.django_db
def test_giving_up_leaves_an_escalated_record_and_a_dead_letter(held: Held) -> None:
    claimed = held(max_retries=0)

    recovery.recover(claimed, failing(), rng=RNG)

    record = ErrorRecord.objects.get(execution_id=claimed.id)
    letter = DeadLetter.objects.get(execution_id=claimed.id)
    assert stored(claimed.id).status == "failed"
    assert (record.recovery_status, record.severity) == ("escalated", "high")
    assert "used up" in record.context["given_up"]
    assert (letter.attempts, letter.last_error_id) == (1, record.id)
    assert letter.payload["snapshot"]["name"] == "a job"


@pytest.mark.django_db
def test_who_lost_the_lease_leaves_no_error_record(held: Held) -> None:
    claimed = held()
    verbs.hand_back(claimed)

    with pytest.raises(LostRace):
        recovery.recover(claimed, failing(), rng=RNG)

    assert ErrorRecord.objects.count() == 0
    assert DeadLetter.objects.count() == 0


@pytest.mark.django_db
def test_an_attempt_that_fails_after_a_cancel_request_is_cancelled(held: Held) -> None:
    claimed = held()
    lifecycle.cancel(stored(claimed.id))

    decision = recovery.recover(claimed, failing(), rng=RNG)

    assert decision == Stopped()
    assert stored(claimed.id).status == "cancelled"
    assert ErrorRecord.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "closed_as"),
    [("completed", "resolved"), ("failed", "escalated"), ("cancelled", "ignored")],
)
def test_the_outcome_closes_the_records_of_earlier_attempts(
    held: Held, status: str, closed_as: str
) -> None:
    claimed = held()
    recovery.recover(claimed, failing(), rng=RNG)

    recovery.mark_retrying([claimed.id])
    on_its_way = ErrorRecord.objects.get().recovery_status
    Execution.objects.filter(id=claimed.id).update(status=status, completed_at=Now())
    recovery.settle({claimed.id: status})

    assert on_its_way == "retrying"
    assert ErrorRecord.objects.get().recovery_status == closed_as
    told = Event.objects.filter(type="error:updated").order_by("id")
    assert {one.data["recovery_status"] for one in told} == {"retrying", closed_as}


@pytest.mark.django_db
def test_an_outcome_that_a_person_has_overtaken_closes_nothing(held: Held) -> None:
    claimed = held()
    recovery.recover(claimed, failing(), rng=RNG)

    recovery.settle({claimed.id: "failed"})

    assert ErrorRecord.objects.get().recovery_status == "retry_scheduled"


def expire(claimed: Claimed, **changes: object) -> None:
    expired = Now() - timedelta(seconds=1)
    Execution.objects.filter(id=claimed.id).update(lease_expires_at=expired, **changes)


@pytest.mark.django_db
def test_the_rescuer_records_an_expired_lease_as_lost(held: Held) -> None:
    lost, alive = held(), held()
    expire(lost)

    rescued = rescuer.rescue_lost(rng=RNG)

    assert rescued == 1
    assert ErrorRecord.objects.get().error_class == "lost"
    assert (stored(lost.id).status, stored(lost.id).outcome) == ("pending", "lost")
    assert stored(alive.id).status == "running"


def lose(execution_id: UUID) -> None:
    """A worker takes it, alone, and is never heard of again."""
    Execution.objects.filter(id=execution_id).update(due_at=clock.now())
    verbs.queue_due(limit=10)
    (claimed,) = lifecycle.claim([execution_id], worker_id="worker-1")
    expire(claimed)
    rescuer.rescue_lost(rng=RNG)


@pytest.mark.django_db
def test_what_has_taken_three_workers_with_it_is_given_up_whatever_its_policy_says(
    held: Held,
) -> None:
    poison = held(max_retries=50)
    expire(poison)
    rescuer.rescue_lost(rng=RNG)

    after = [(stored(poison.id).status, stored(poison.id).attempt)]
    for _ in range(2):
        lose(poison.id)
        after.append((stored(poison.id).status, stored(poison.id).attempt))

    assert after == [("pending", 1), ("pending", 2), ("failed", 3)]
    assert stored(poison.id).outcome == "lost"
    assert "the work itself" in ErrorRecord.objects.get(attempt=3).context["given_up"]


@pytest.mark.django_db
def test_errors_of_other_kinds_do_not_count_towards_the_three_workers(held: Held) -> None:
    unlucky = held(max_retries=50)
    recovery.recover(unlucky, failing(), rng=RNG)
    for _ in range(2):
        lose(unlucky.id)

    assert (stored(unlucky.id).status, stored(unlucky.id).attempt) == ("pending", 3)


@pytest.mark.django_db
def test_leases_that_people_end_do_not_count_towards_the_three_workers(
    held: Held, operator: User
) -> None:
    long = held(max_retries=50)
    for attempt in range(1, 5):
        rescuer.release(long.id, actor=Actor.of(operator), rng=RNG)
        assert (stored(long.id).status, stored(long.id).attempt) == ("pending", attempt)
        Execution.objects.filter(id=long.id).update(due_at=clock.now())
        verbs.queue_due(limit=10)
        lifecycle.claim([long.id], worker_id="worker-1")


@pytest.mark.django_db
def test_a_new_budget_counts_lost_workers_anew(held: Held, operator: User) -> None:
    poison = held(max_retries=50)
    expire(poison)
    rescuer.rescue_lost(rng=RNG)
    for _ in range(2):
        lose(poison.id)
    handling.requeue(DeadLetter.objects.get(), actor=Actor.of(operator))

    for _ in range(2):
        lose(poison.id)

    assert (stored(poison.id).status, stored(poison.id).attempt) == ("pending", 5)


@pytest.mark.django_db
def test_lost_workers_of_all_hosts_are_likes_of_each_other(held: Held) -> None:
    for worker in ("io@alpha", "cpu@beta"):
        lost = held()
        expire(lost, worker_id=worker)
        rescuer.rescue_lost(rng=RNG)

    assert ErrorRecord.objects.values("fingerprint").distinct().count() == 1
    workers = ErrorRecord.objects.values_list("worker_id", flat=True)
    assert sorted(workers) == ["cpu@beta", "io@alpha"]


@pytest.mark.django_db
def test_a_worker_killed_early_is_lost_however_short_the_time_limit_of_its_job(
    held: Held,
) -> None:
    killed = held()
    begun = Now() - timedelta(seconds=20)  # a lease is longer than many a time limit
    expire(killed, started_at=begun, heartbeat_at=begun)

    rescuer.rescue_lost(rng=RNG)

    assert ErrorRecord.objects.get().error_class == "lost"


@pytest.mark.django_db
def test_a_lease_that_ends_after_the_time_limit_is_a_timeout(held: Held) -> None:
    overrun = held()
    expire(overrun, started_at=Now() - timedelta(seconds=5))

    rescuer.rescue_lost(rng=RNG)

    assert stored(overrun.id).outcome == "timeout"
    assert ErrorRecord.objects.get().error_class == "timeout"


@pytest.mark.django_db
def test_a_row_lost_in_a_longer_slice_goes_back_uncharged_and_alone(held: Held) -> None:
    lost = held()
    expire(lost, slice_size=50)

    rescuer.rescue_lost(rng=RNG)

    row = stored(lost.id)
    assert (row.status, row.attempt, row.travels_alone) == ("queued", 0, True)
    assert ErrorRecord.objects.count() == 0


@pytest.mark.django_db
def test_a_lost_execution_that_was_to_stop_is_cancelled(held: Held) -> None:
    lost = held()
    lifecycle.cancel(stored(lost.id))
    expire(lost)

    rescuer.rescue_lost(rng=RNG)

    assert stored(lost.id).status == "cancelled"


@pytest.mark.django_db
def test_losing_the_worker_on_the_last_attempt_is_given_up(held: Held) -> None:
    lost = held(max_retries=0)
    expire(lost)

    rescuer.rescue_lost(rng=RNG)

    assert (stored(lost.id).status, stored(lost.id).outcome) == ("failed", "lost")
    assert DeadLetter.objects.count() == 1


@pytest.mark.django_db
def test_a_row_that_cannot_be_recovered_does_not_stop_the_rest(held: Held) -> None:
    corrupt, lost = held(), held()
    expire(corrupt, snapshot=[])
    expire(lost)

    rescuer.rescue_lost(rng=RNG)

    assert stored(lost.id).status == "pending"


@pytest.mark.django_db
def test_an_execution_whose_retry_policy_cannot_be_read_is_given_up(held: Held) -> None:
    corrupt = held()
    expire(corrupt, snapshot={**corrupt.snapshot, "retry_policy": {"max_retries": "many"}})

    rescuer.rescue_lost(rng=RNG)

    assert (stored(corrupt.id).status, stored(corrupt.id).outcome) == ("failed", "lost")


@pytest.fixture
def dead(held: Held) -> ErrorRecord:
    recovery.recover(held(max_retries=0), failing(), rng=RNG)
    return ErrorRecord.objects.get()


def test_retrying_a_dead_execution_gives_it_a_new_budget(dead: ErrorRecord, operator: User) -> None:
    handling.retry(dead, actor=Actor.of(operator), note="the endpoint is back")

    row = stored(dead.execution_id)  # type: ignore[arg-type]
    letter = DeadLetter.objects.get()
    assert (row.status, row.attempt, row.max_attempts) == ("pending", 1, 2)
    assert (dead.recovery_status, dead.handled_by_id) == ("retrying", operator.pk)
    assert (letter.handling, letter.handled_by_id) == ("requeued", operator.pk)
    assert AuditEntry.objects.get(action="error.retrying").note == "the endpoint is back"


@pytest.mark.django_db
def test_retrying_a_scheduled_retry_makes_it_due_now(held: Held, operator: User) -> None:
    claimed = held(base_ms=300_000, jitter="none")
    recovery.recover(claimed, failing(), rng=RNG)

    handling.retry(ErrorRecord.objects.get(), actor=Actor.of(operator))

    assert stored(claimed.id).due_at <= clock.now() + timedelta(seconds=1)
    assert stored(claimed.id).attempt == 1


@pytest.mark.parametrize(
    ("verb", "status"), [(handling.resolve, "resolved"), (handling.ignore, "ignored")]
)
def test_a_person_may_close_an_escalated_error(
    dead: ErrorRecord, operator: User, verb: Callable[..., ErrorRecord], status: str
) -> None:
    verb(dead, actor=Actor.of(operator), note="known")

    dead.refresh_from_db()
    assert (dead.recovery_status, dead.note, dead.handled_by_id) == (status, "known", operator.pk)
    assert dead.handled_at is not None


def test_a_closed_error_cannot_be_retried(dead: ErrorRecord, operator: User) -> None:
    handling.resolve(dead, actor=Actor.of(operator))

    with pytest.raises(IllegalMove, match="cannot move from 'resolved' to 'retrying'"):
        handling.retry(dead, actor=Actor.of(operator))


def test_of_two_people_the_first_decides(dead: ErrorRecord, operator: User) -> None:
    seen_by_both = ErrorRecord.objects.get(id=dead.id)
    handling.resolve(dead, actor=Actor.of(operator))

    with pytest.raises(LostRace):
        handling.ignore(seen_by_both, actor=Actor.of(operator))

    assert ErrorRecord.objects.get().recovery_status == "resolved"


def test_a_discarded_dead_letter_is_never_requeued(dead: ErrorRecord, operator: User) -> None:
    letter = DeadLetter.objects.get()
    handling.discard(letter, actor=Actor.of(operator))

    with pytest.raises(IllegalMove, match="before"):
        handling.requeue(letter, actor=Actor.of(operator))

    row = stored(letter.execution_id)
    assert (row.status, ExecutionStatus(row.status)) == ("failed", ExecutionStatus.FAILED)
    assert row.discarded_at is not None


@pytest.mark.django_db
def test_while_recovery_is_stopped_retries_wait_and_first_attempts_do_not(
    held: Held, operator: User
) -> None:
    SystemState.objects.get_or_create(id=1)
    retry, fresh = held(), held()
    recovery.recover(retry, failing(), rng=RNG)
    Execution.objects.filter(id=retry.id).update(due_at=clock.now())
    first_attempt = {"status": "pending", "attempt": 0, "lease_token": None}
    Execution.objects.filter(id=fresh.id).update(**first_attempt)

    handling.stop_recovery(Actor.of(operator))
    while_stopped = verbs.queue_due(limit=10)
    handling.start_recovery(Actor.of(operator))
    afterwards = verbs.queue_due(limit=10)

    assert [message.execution_id for message, _ in while_stopped] == [fresh.id]
    assert [message.execution_id for message, _ in afterwards] == [retry.id]
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"recovery.stopped", "recovery.started"} <= actions
