"""A trigger by hand: beside others as the overlap policy says, unique where it is to be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from executions_app import lifecycle
from executions_app.audit import Actor
from executions_app.models import AuditEntry, Execution
from scheduler_app import by_hand
from scheduler_app.admission import StillActive
from scheduler_app.by_hand import Wanted
from scheduler_app.limiting.key_templates import MissingValue
from scheduler_app.models import Schedule
from scheduler_app.policies import OverlapPolicy
from tests.rest import signed_in
from tests.terminal import run

MakeSchedule = Callable[..., Schedule]
UNIQUE = {"overlap_policy": "allow", "unique_key": "order:{order}"}


def trigger(schedule: Schedule, **said: Any) -> by_hand.Triggered:
    return by_hand.trigger(schedule, Wanted(**said), actor=Actor.of(schedule.owner))


@pytest.mark.django_db
def test_an_active_execution_is_in_the_way_unless_the_caller_says_otherwise(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule()
    trigger(schedule)

    with pytest.raises(StillActive, match="has executions that have not ended: #"):
        trigger(schedule)
    allowed = trigger(schedule, overlap=OverlapPolicy.ALLOW)

    assert not allowed.is_duplicate
    assert Execution.objects.count() == 2


@pytest.mark.django_db
def test_an_execution_is_born_with_its_keys_and_its_end(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(limit_key="tenant:{who.tenant}", run_ttl_ms=60_000, **UNIQUE)

    made = trigger(schedule, parameters={"order": 7, "who": {"tenant": "acme"}})

    row = Execution.objects.get(id=made.execution_id)
    assert (row.limit_key, row.unique_key) == ("tenant:acme", "order:7")
    assert row.expires_at == row.due_at + timedelta(minutes=1)


@pytest.mark.django_db
def test_the_same_work_is_answered_with_what_is_there(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(**UNIQUE)
    first = trigger(schedule, parameters={"order": 7})

    again = trigger(schedule, parameters={"order": 7})
    other = trigger(schedule, parameters={"order": 8})

    assert again == by_hand.Triggered(first.execution_id, is_duplicate=True)
    assert not other.is_duplicate
    told = AuditEntry.objects.get(action="schedule.triggered", after__is_duplicate=True)
    assert told.after == {"execution_id": str(first.execution_id), "is_duplicate": True}


@pytest.mark.django_db
def test_the_key_of_the_caller_comes_before_that_of_the_schedule(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(overlap_policy="allow")
    first = trigger(schedule, unique_key="mine")

    again = trigger(schedule, unique_key="mine")
    without = trigger(schedule)

    assert (again.execution_id, again.is_duplicate) == (first.execution_id, True)
    assert not without.is_duplicate


@pytest.mark.django_db
def test_a_debounced_execution_waits_and_expires_later(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(
        unique_mode="debounce", unique_for_ms=60_000, run_ttl_ms=60_000, **UNIQUE
    )

    made = trigger(schedule, parameters={"order": 7})

    row = Execution.objects.get(id=made.execution_id)
    assert row.status == "pending"
    assert row.due_at == row.created_at + timedelta(minutes=1)
    assert row.expires_at == row.due_at + timedelta(minutes=1)


@pytest.mark.django_db
def test_replacing_work_is_not_refused_for_what_it_replaces(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(unique_key="the one", unique_mode="replace")
    first = trigger(schedule)
    assert lifecycle.claim([first.execution_id], worker_id="w:1:x")

    second = trigger(schedule)

    row = Execution.objects.get(id=second.execution_id)
    assert (row.status, row.held_by) == ("pending", "unique:the one")


@pytest.mark.django_db
def test_replacing_work_is_refused_for_other_work_of_its_schedule(
    make_schedule: MakeSchedule,
) -> None:
    words = {"unique_key": "{key}", "unique_mode": "replace"}
    elsewhere, here = make_schedule("elsewhere", **words), make_schedule("here", **words)
    first = trigger(elsewhere, parameters={"key": "k"})
    second = trigger(here, parameters={"key": "j"})
    running = [first.execution_id, second.execution_id]
    assert len(lifecycle.claim(running, worker_id="w:1:x")) == len(running)

    with pytest.raises(StillActive):
        trigger(here, parameters={"key": "k"})

    assert not Execution.objects.filter(cancel_requested_at__isnull=False).exists()


@pytest.mark.django_db
def test_the_key_of_the_caller_needs_no_value_of_the_template(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(**UNIQUE)

    made = trigger(schedule, unique_key="mine")

    assert Execution.objects.get(id=made.execution_id).unique_key == "mine"


@pytest.mark.django_db
def test_what_counts_is_the_schedule_as_it_is_now(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    trigger(schedule)
    Schedule.objects.filter(id=schedule.id).update(overlap_policy="allow", priority="high")

    made = trigger(schedule)
    Schedule.objects.filter(id=schedule.id).delete()
    with pytest.raises(Schedule.DoesNotExist):
        trigger(schedule)

    assert Execution.objects.get(id=made.execution_id).priority == "high"
    assert Execution.objects.count() == 2


@pytest.mark.django_db
def test_work_whose_execution_is_not_kept_any_more_is_still_a_duplicate(
    owner: User, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule("job", unique_mode="for_time", unique_for_ms=60_000, **UNIQUE)
    order = {"parameters": {"order": 7}}
    first = trigger(schedule, **order)
    Execution.objects.all().delete()

    again = signed_in(owner).post(f"/api/scheduler/schedules/{schedule.id}/trigger", order)
    words = ["--parameters", '{"order": 7}', "--user", "owner"]
    told = run("schedule", "trigger", "job", *words)

    assert (again.status_code, again.json()["id"]) == (200, str(first.execution_id))
    assert (again.json()["number"], again.json()["duplicate"]) == (None, True)
    assert "not kept any more" in told.stdout


@pytest.mark.django_db
def test_a_key_without_its_value_starts_nothing(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(**UNIQUE)

    with pytest.raises(MissingValue):
        trigger(schedule, parameters={"other": 7})

    assert Execution.objects.count() == 0


@pytest.mark.django_db
def test_rest_says_what_is_in_the_way_what_is_missing_and_what_is_there(
    owner: User, make_schedule: MakeSchedule
) -> None:
    api: APIClient = signed_in(owner)
    plain = f"/api/scheduler/schedules/{make_schedule('plain').id}/trigger"
    unique = f"/api/scheduler/schedules/{make_schedule('unique', **UNIQUE).id}/trigger"
    order = {"parameters": {"order": 7}}

    _, refused, allowed = (api.post(plain, said) for said in ({}, {}, {"overlap": "allow"}))
    missing, first, again = (api.post(unique, said) for said in ({}, order, order))

    assert [one.status_code for one in (refused, allowed)] == [409, 202]
    assert "has executions that have not ended" in refused.json()["detail"]
    assert missing.status_code == 400
    assert missing.json()["errors"][0]["pointer"] == "/parameters/order"
    assert (first.status_code, first.json()["duplicate"]) == (202, False)
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert again.json()["id"] == first.json()["id"]


@pytest.mark.django_db
def test_the_command_takes_the_same(owner: User, make_schedule: MakeSchedule) -> None:
    make_schedule("job")
    words = ["schedule", "trigger", "job", "--user", "owner"]

    first = run(*words, "--unique-key", "k", "--json")
    again = run(*words, "--unique-key", "k")
    refused = run(*words)
    allowed = run(*words, "--overlap", "allow")

    assert first.document["duplicate"] is False
    assert "was there already and is queued" in again.stdout
    assert (refused.exit_code, allowed.exit_code) == (5, 0)
    assert "--overlap allow" in refused.stderr
