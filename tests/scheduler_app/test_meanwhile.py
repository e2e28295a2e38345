"""Two people, or a person and a beat, at the same row at the same time: nobody's work is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any, TypeVar

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from executions_app.audit import SYSTEM
from executions_app.database_errors import despite_deadlocks
from executions_app.models import Execution
from scheduler_app import calendars, definition, schedules
from scheduler_app.definition import InvalidDefinition
from scheduler_app.limiting import limits, limits_in_force
from scheduler_app.models import BusinessCalendar, Limit, Schedule
from tests.rest import signed_in

MakeSchedule = Callable[..., Schedule]
Answer = TypeVar("Answer")
pytestmark = pytest.mark.django_db(transaction=True)

WORDS = {
    "name": "a job",
    "schedule_type": "interval",
    "schedule_config": {"interval_ms": 60_000},
    "task_type": "shell_command",
    "task_config": {"command": ["true"]},
}


def alone(act: Callable[[], Answer]) -> Answer:
    """As in another process: with a connection of its own, which is closed."""
    try:
        return act()
    finally:
        connection.close()


def wait_until_somebody_waits_for_a_lock() -> None:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            if cursor.fetchone() == (True,):
                return
    raise AssertionError("nobody waits for a lock")


@pytest.fixture
def office(owner: User) -> BusinessCalendar:
    parsed = calendars.parse({"name": "office"})
    return calendars.create(parsed, owner_id=owner.pk, actor=SYSTEM)


def test_a_calendar_is_not_deleted_under_a_schedule_that_begins_to_follow_it(
    owner: User, office: BusinessCalendar
) -> None:
    words = definition.parse({**WORDS, "calendar": "office"})

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            schedule = schedules.create(words, owner_id=owner.pk, actor=SYSTEM)
            deleting = other.submit(alone, lambda: calendars.delete(office.id, actor=SYSTEM))
            wait_until_somebody_waits_for_a_lock()
        with pytest.raises(calendars.InUse, match="a job"):
            deleting.result()

    assert Schedule.objects.get(id=schedule.id).calendar_id == office.id


def test_a_calendar_that_is_being_deleted_is_not_followed(
    owner: User, office: BusinessCalendar
) -> None:
    words = definition.parse({**WORDS, "calendar": "office"})

    def create() -> Schedule:
        return schedules.create(words, owner_id=owner.pk, actor=SYSTEM)

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            calendars.delete(office.id, actor=SYSTEM)
            creating = other.submit(alone, create)
            wait_until_somebody_waits_for_a_lock()
        with pytest.raises(InvalidDefinition, match="no business calendar"):
            creating.result()

    assert not Schedule.objects.exists()


def test_two_changes_of_one_limit_both_last(owner: User) -> None:
    admin: APIClient = signed_in(User.objects.create_superuser("root"))
    parsed = limits.parse({"key": "task:noop", "max_concurrent": 1})
    limit, _ = limits.put(parsed, actor=SYSTEM)
    url = f"/api/scheduler/limits/{limit.id}"

    def patch() -> Any:
        return admin.patch(url, {"max_concurrent": 9}, format="json").status_code

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            limits.change(limit.id, {"note": "the other's"}, actor=SYSTEM)
            patching = other.submit(alone, patch)
            wait_until_somebody_waits_for_a_lock()
        status = patching.result()
    limits_in_force.forget()

    changed = Limit.objects.get()
    assert status == 200
    assert (changed.max_concurrent, changed.note, changed.version) == (9, "the other's", 3)


def test_what_postgresql_ended_to_break_a_deadlock_is_done_again(db: None) -> None:
    both_have_one = Barrier(2)

    def lock(*keys: int) -> int:
        tries = 0

        def write() -> int:
            nonlocal tries
            tries += 1
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(7, %s)", [keys[0]])
                if tries == 1:
                    both_have_one.wait(timeout=20)
                cursor.execute("SELECT pg_advisory_xact_lock(7, %s)", [keys[1]])
            return tries

        return alone(lambda: despite_deadlocks(write))

    with ThreadPoolExecutor(2) as both:
        tries = [one.result() for one in (both.submit(lock, 1, 2), both.submit(lock, 2, 1))]

    assert sorted(tries) == [1, 2]


def test_an_edit_in_the_admin_commits_what_was_due_before_it_changes_anything(
    owner: User, client: Client, make_schedule: MakeSchedule
) -> None:
    client.force_login(User.objects.create_superuser("root"))
    schedule = make_schedule(late_by=timedelta(seconds=5))
    words = {
        "name": "a job",
        "trigger_type": "time_based",
        "schedule_type": "interval",
        "schedule_config": '{"interval_ms": 120000}',
        "timezone": "UTC",
        "task_type": "shell_command",
        "task_config": '{"command": ["true"]}',
        "priority": "normal",
        "enabled": "on",
        "overlap_policy": "skip",
        "catchup_policy": "latest",
        "retry_policy": "{}",
        "version": "1",
    }

    with CaptureQueriesContext(connection) as captured:
        url = reverse("admin:scheduler_app_schedule_change", args=[schedule.id])
        answer = client.post(url, words)

    statements = [one["sql"] for one in captured]
    fired = next(n for n, one in enumerate(statements) if "INSERT INTO fire_records" in one)
    edited = next(n for n, one in enumerate(statements) if 'UPDATE "task_schedules"' in one)
    assert answer.status_code == 302
    assert "COMMIT" in statements[fired:edited]
    assert Execution.objects.get().status == "queued"
    assert Schedule.objects.get().schedule_config == {"interval_ms": 120_000}
