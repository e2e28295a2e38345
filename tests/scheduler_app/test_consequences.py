"""What one batch of outcomes leads to, in which order, and what it adds up to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from executions_app import lifecycle
from executions_app.audit import SYSTEM
from executions_app.ledger import Claimed, Leave
from executions_app.models import Execution
from executions_app.states import ExecutionStatus, Outcome
from scheduler_app import consequences, schedules
from scheduler_app.models import FireRecord, Schedule
from tests import terminal, verbs
from tests.factories import ScheduleFactory, UserFactory
from tests.rest import signed_in

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = {"trigger_type": "manual", "schedule_type": "", "schedule_config": {}}


def make(owner: User, **words: Any) -> Schedule:
    return ScheduleFactory.create(owner=owner, **{**BY_HAND, **words})


def dependent(owner: User, upstream: Schedule, **words: Any) -> Schedule:
    config = {"upstreams": [upstream.name], "on": "success", "mode": "any"}
    return make(owner, trigger_type="dependent", trigger_config=config, **words)


def trigger(schedule: Schedule) -> UUID:
    return schedules.trigger(schedule, actor=SYSTEM)


def begin(schedule: Schedule) -> Claimed:
    (one,) = lifecycle.claim([trigger(schedule)], worker_id="w")
    return one


def fail(one: Claimed) -> None:
    with transaction.atomic():
        lifecycle.leave_now(
            Leave(
                one.id, one.lease_token, ExecutionStatus.FAILED, Outcome.ERROR, is_dead_letter=True
            )
        )


def states(schedule: Schedule) -> list[str]:
    rows = Execution.objects.filter(schedule_id=schedule.id).order_by("number")
    return ["held" if one.held_by else one.status for one in rows]


def place_of(statements: Sequence[str], *words: str) -> int:
    """The first statement that has all of these words."""
    return next(n for n, one in enumerate(statements) if all(word in one for word in words))


def test_keys_are_asked_for_before_what_waits_is_locked(owner: User) -> None:
    first = make(owner, overlap_policy="buffer_one")
    second = dependent(owner, first, unique_key="the one")
    running, _ = begin(first), trigger(first)
    verbs.complete(running, output=None)

    with CaptureQueriesContext(connection) as captured:
        consequences.draw()

    statements = [one["sql"] for one in captured]
    key = place_of(statements, "unique_works")
    released = place_of(statements, "UPDATE task_executions", "overlap:")
    assert key < released
    assert states(first) == ["completed", "pending"]
    assert states(second) == ["pending"]


def test_what_ended_makes_room_for_what_starts_in_the_same_batch(owner: User) -> None:
    first = make(owner)
    second = dependent(owner, first, overlap_policy="buffer_one")
    running, _ = begin(second), trigger(second)
    verbs.complete(running, output=None)
    verbs.complete(begin(first), output=None)

    consequences.draw()

    (record,) = FireRecord.objects.filter(schedule_id=second.id)
    assert record.reason == "dispatched"
    assert states(second) == ["completed", "pending", "held"]


def test_the_statistics_are_those_of_the_executions(owner: User) -> None:
    schedule = make(owner, overlap_policy="allow")
    for _ in range(3):
        verbs.complete(begin(schedule), output=None)
    verbs.cancelled(begin(schedule))
    lifecycle.cancel(Execution.objects.get(id=trigger(schedule)))
    for _ in range(2):
        fail(begin(schedule))
    consequences.draw()

    said = signed_in(owner).get(f"/api/scheduler/schedules/{schedule.id}/stats").json()

    judged = Execution.objects.filter(status__in=["completed", "failed"])
    took = [
        (one.completed_at - one.started_at).total_seconds() * 1000
        for one in judged
        if one.completed_at and one.started_at
    ]
    mean = said.pop("mean_duration_ms")
    assert abs(mean - sum(took) / len(took)) <= 2  # each is stored in whole milliseconds
    assert said.pop("last_success_at") is not None
    assert said == {
        "schedule_id": str(schedule.id),
        "runs": 7,
        "successes": 3,
        "failures": 2,
        "cancellations": 2,
        "last_status": "failed",
        "consecutive_failures": 2,
    }


def test_a_schedule_that_never_ran_has_no_mean(owner: User) -> None:
    schedule = make(owner)

    said = signed_in(owner).get(f"/api/scheduler/schedules/{schedule.id}/stats").json()

    assert (said["runs"], said["mean_duration_ms"], said["last_status"]) == (0, None, None)


def test_the_statistics_of_others_are_not_there(owner: User) -> None:
    schedule = make(owner)

    answer = signed_in(UserFactory.create()).get(f"/api/scheduler/schedules/{schedule.id}/stats")

    assert answer.status_code == 404


def test_the_terminal_shows_the_statistics(owner: User) -> None:
    User.objects.create_superuser("root")
    schedule = make(owner, overlap_policy="allow")
    verbs.complete(begin(schedule), output=None)
    for _ in range(2):
        fail(begin(schedule))
    consequences.draw()

    shown = terminal.run("schedule", "show", str(schedule.id))
    document = terminal.run("schedule", "show", str(schedule.id), "--json").document

    words = " ".join(shown.stdout.split())
    assert "3 ended, 2 of them failed" in words
    assert "the last one failed, 2 failures in a row" in words
    assert document["stats"]["consecutive_failures"] == 2
