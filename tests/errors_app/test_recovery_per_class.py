"""Retry settings of a class hold on every way to a decision; what may not be repeated is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from agents_app.leaving import WorkerStopped
from errors_app import decision, earlier, handling, recovery, rescuer, taxonomy
from errors_app.backoff import RetryPolicy
from errors_app.decision import GiveUp, Past, RetryAt
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError, WorkerLost
from executions_app import clock, ids, lifecycle
from executions_app.audit import Actor
from executions_app.ledger import Claimed
from executions_app.models import Execution
from tests import verbs
from tests.errors_app.failures import fail

Held = Callable[..., Claimed]
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
RNG = random.Random(7)
MINUTE = timedelta(minutes=1)


def failing(error_class: ErrorClass, *, may_repeat: bool | None = None) -> HandlerError:
    return HandlerError("it broke", error_class=error_class, may_repeat=may_repeat)


def again(claimed: Claimed) -> Claimed:
    """The next attempt of what waits to be tried again."""
    Execution.objects.filter(id=claimed.id).update(due_at=clock.now())
    verbs.queue_due(limit=10)
    (following,) = lifecycle.claim([claimed.id], worker_id="worker-1")
    assert following is not None
    return following


def expire(claimed: Claimed, **changes: object) -> None:
    expired = Now() - timedelta(seconds=1)
    Execution.objects.filter(id=claimed.id).update(lease_expires_at=expired, **changes)


def status(execution_id: UUID) -> tuple[str, int]:
    row = Execution.objects.get(id=execution_id)
    return row.status, row.attempt


def given_up(execution_id: UUID) -> str:
    record = ErrorRecord.objects.filter(execution_id=execution_id).order_by("attempt").last()
    assert record is not None
    return str(record.context["given_up"])


def test_an_error_waits_as_its_class_says_and_others_as_all_do() -> None:
    own = {"timeout": {"strategy": "fixed", "base_ms": 60_000, "cap_ms": 90_000, "jitter": "none"}}
    policy = RetryPolicy.model_validate(
        {"base_ms": 1_000, "cap_ms": 2_000, "jitter": "none", "per_class": own}
    )

    def due(error_class: ErrorClass, retry_after: float | None = None) -> timedelta:
        error = HandlerError("it broke", error_class=error_class, retry_after=retry_after)
        failure = taxonomy.classify(error)
        decided = decision.decide(
            failure, attempt=1, max_attempts=4, policy=policy, now=NOON, rng=RNG
        )
        assert isinstance(decided, RetryAt)
        return decided.due_at - NOON

    assert due(ErrorClass.TIMEOUT) == timedelta(seconds=60)
    assert due(ErrorClass.TRANSIENT) == timedelta(seconds=1)
    assert due(ErrorClass.TIMEOUT, 3600.0) == timedelta(seconds=90)
    assert due(ErrorClass.TRANSIENT, 3600.0) == timedelta(seconds=2)


@pytest.mark.django_db
def test_a_class_uses_up_its_own_retries_while_others_have_more(held: Held) -> None:
    claimed = held(max_retries=5, per_class={"timeout": {"max_retries": 1}})

    recovery.recover(claimed, failing(ErrorClass.TIMEOUT), rng=RNG)
    claimed = again(claimed)
    recovery.recover(claimed, failing(ErrorClass.TRANSIENT), rng=RNG)
    claimed = again(claimed)
    recovery.recover(claimed, failing(ErrorClass.TIMEOUT), rng=RNG)

    assert status(claimed.id) == ("failed", 3)
    assert given_up(claimed.id) == "the retries after errors of class 'timeout' are used up"


@pytest.mark.django_db
def test_the_budget_of_all_causes_bounds_the_classes_too(held: Held) -> None:
    each = {"max_retries": 2}
    claimed = held(max_retries=2, per_class={"timeout": each, "transient": each})

    for error_class in (ErrorClass.TIMEOUT, ErrorClass.TRANSIENT, ErrorClass.TIMEOUT):
        recovery.recover(claimed, failing(error_class), rng=RNG)
        if status(claimed.id)[0] == "pending":
            claimed = again(claimed)

    assert status(claimed.id) == ("failed", 3)
    assert "all 3 attempts" in given_up(claimed.id)


@pytest.mark.django_db
def test_a_new_budget_has_new_retries_of_each_class(held: Held, operator: User) -> None:
    claimed = held(max_retries=3, per_class={"timeout": {"max_retries": 1}})
    for _ in range(2):
        recovery.recover(claimed, failing(ErrorClass.TIMEOUT), rng=RNG)
        if status(claimed.id)[0] == "pending":
            claimed = again(claimed)
    handling.requeue(DeadLetter.objects.get(), actor=Actor.of(operator))

    recovery.recover(again(claimed), failing(ErrorClass.TIMEOUT), rng=RNG)

    assert status(claimed.id)[0] == "pending"


@pytest.mark.django_db
def test_the_rescuer_goes_by_the_settings_of_lost(held: Held) -> None:
    slow = {"strategy": "fixed", "base_ms": 120_000, "jitter": "none"}
    never, later = held(per_class={"lost": {"max_retries": 0}}), held(per_class={"lost": slow})
    expire(never)
    expire(later)

    rescuer.rescue_lost(rng=RNG)

    assert (status(never.id)[0], status(later.id)[0]) == ("failed", "pending")
    assert Execution.objects.get(id=later.id).due_at >= clock.now() + MINUTE


@pytest.mark.django_db
def test_a_drain_goes_by_the_settings_of_lost(held: Held) -> None:
    claimed = held(per_class={"lost": {"max_retries": 0}})

    recovery.recover(claimed, WorkerStopped(), rng=RNG)

    assert status(claimed.id) == ("failed", 1)


@pytest.mark.django_db
def test_three_lost_workers_are_the_end_whatever_their_class_says(held: Held) -> None:
    claimed = held(max_retries=50, per_class={"lost": {"max_retries": 50}})
    for _ in range(3):
        expire(claimed)
        rescuer.rescue_lost(rng=RNG)
        if status(claimed.id)[0] == "pending":
            claimed = again(claimed)

    assert status(claimed.id) == ("failed", 3)
    severities = ErrorRecord.objects.order_by("attempt").values_list("severity", flat=True)
    assert list(severities) == ["medium", "medium", "critical"]


def test_the_third_lost_worker_is_critical_even_if_the_budget_is_used_up() -> None:
    decided = decision.decide(
        taxonomy.classify(WorkerLost("gone")),
        attempt=3,
        max_attempts=3,
        policy=RetryPolicy(max_retries=2),
        now=NOON,
        rng=RNG,
        past=Past(lost=3),
    )

    assert isinstance(decided, GiveUp)
    assert decided.severity == "critical"


@pytest.mark.django_db
def test_an_adaptive_wait_counts_what_else_of_its_schedule_failed_and_has_not_come_right(
    held: Held,
) -> None:
    claimed, schedule_id = held(strategy="adaptive"), uuid4()
    now = clock.now()
    for _ in range(3):
        fail(schedule_id=schedule_id, execution_id=uuid4())
    over = fail(schedule_id=schedule_id, execution_id=uuid4())
    ErrorRecord.objects.filter(id=over.id).update(recovery_status="resolved")
    old = fail(schedule_id=schedule_id, execution_id=uuid4())
    ErrorRecord.objects.filter(id=old.id).update(id=ids.new(now - 6 * MINUTE))
    fail(schedule_id=schedule_id, execution_id=claimed.id)
    fail(schedule_id=uuid4(), execution_id=uuid4())
    mine = replace(claimed, schedule_id=schedule_id)

    past = earlier.of(
        mine,
        taxonomy.classify(failing(ErrorClass.TRANSIENT)),
        policy=RetryPolicy.model_validate(claimed.snapshot["retry_policy"]),
        now=now,
    )

    assert past.recent_failures == 3


@pytest.mark.django_db
def test_what_is_not_adaptive_asks_nothing_about_its_schedule(held: Held) -> None:
    mine, now = replace(held(), schedule_id=uuid4()), clock.now()
    failure = taxonomy.classify(failing(ErrorClass.TRANSIENT))

    with CaptureQueriesContext(connection) as captured:
        earlier.of(mine, failure, policy=RetryPolicy(), now=now)

    assert len(captured) == 0


# What must not be done twice


@pytest.mark.django_db
def test_what_may_have_had_its_effect_is_given_up_whatever_its_class(held: Held) -> None:
    claimed = held()

    recovery.recover(claimed, failing(ErrorClass.TIMEOUT, may_repeat=False), rng=RNG)

    assert status(claimed.id) == ("failed", 1)
    assert "idempotent" in given_up(claimed.id)
    assert ErrorRecord.objects.get().error_class == "timeout"


def forbid(claimed: Claimed, **changes: object) -> Claimed:
    """It holds a call of which a person says that it must not be made twice."""
    snapshot = {**claimed.snapshot, "task_config": {"idempotent": False}}
    Execution.objects.filter(id=claimed.id).update(snapshot=snapshot, **changes)
    return replace(claimed, snapshot=snapshot)


@pytest.mark.django_db
@pytest.mark.parametrize("slice_size", [1, 50])
def test_a_lost_worker_ends_what_a_person_says_must_not_be_done_twice(
    held: Held, slice_size: int
) -> None:
    claimed = forbid(held(), slice_size=slice_size)
    expire(claimed)

    rescuer.rescue_lost(rng=RNG)

    assert status(claimed.id) == ("failed", 1)
    assert "idempotent" in given_up(claimed.id)


@pytest.mark.django_db
def test_what_surely_had_no_effect_is_tried_again_even_then(held: Held) -> None:
    claimed = forbid(held())

    recovery.recover(claimed, failing(ErrorClass.TRANSIENT, may_repeat=True), rng=RNG)

    assert status(claimed.id) == ("pending", 1)
