"""What people do to schedules: nothing that somebody else did meanwhile is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from executions_app import audit
from executions_app.models import Execution, SystemState
from scheduler_app import schedules
from scheduler_app.models import FireRecord, Schedule

MakeSchedule = Callable[..., Schedule]
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


def wait_until_somebody_waits() -> None:
    ends = time.monotonic() + 5
    with connection.cursor() as cursor:
        while time.monotonic() < ends:
            cursor.execute(WAITING)
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waited for the row")


@pytest.mark.django_db
def test_a_fire_that_is_due_already_is_not_lost_to_an_edit(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=1))
    words = schedules.current(schedule).model_copy(update={"schedule_config": {"every": "1 hour"}})

    schedules.update(schedule.id, words, actor=audit.SYSTEM)

    fire = FireRecord.objects.get(schedule_id=schedule.id)
    assert (fire.nominal_at, fire.reason) == (schedule.next_run_at, "dispatched")


@pytest.mark.django_db
def test_a_pause_while_the_system_is_stopped_runs_nothing(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=1))
    SystemState.objects.update(scheduler_running=False)

    schedules.pause(schedule.id, reason="too noisy", until=None, actor=audit.SYSTEM)

    assert not Execution.objects.exists()
    fire = FireRecord.objects.get(schedule_id=schedule.id)
    assert (fire.nominal_at, fire.reason) == (schedule.next_run_at, "skipped_paused")


@pytest.mark.django_db(transaction=True)
def test_a_pause_keeps_an_edit_of_the_same_moment(make_schedule: MakeSchedule, owner: User) -> None:
    schedule = make_schedule()

    def pause() -> None:
        try:
            schedules.pause(schedule.id, reason="too noisy", until=None, actor=audit.SYSTEM)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            edited = Schedule.objects.filter(id=schedule.id)
            edited.update(task_config={"command": ["false"]}, version=2)
            pausing = pool.submit(pause)
            wait_until_somebody_waits()
        pausing.result()

    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.pause_reason) == (False, "too noisy")
    assert schedule.task_config == {"command": ["false"]}
