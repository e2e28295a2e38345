"""The first fire obeys start, end, number of runs and windows, or the schedule is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from executions_app import audit, clock
from executions_app.audit import Actor
from scheduler_app import calendars, schedules
from scheduler_app.definition import InvalidDefinition
from scheduler_app.models import Schedule

MakeSchedule = Callable[..., Schedule]
pytestmark = pytest.mark.django_db
FAR = datetime(2126, 1, 7, 9, 30, tzinfo=UTC)
CRON = {"schedule_type": "cron", "schedule_config": {"cron": "0 9 * * *"}}


def problem_of(act: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(InvalidDefinition) as refused:
        act()
    (problem,) = refused.value.problems
    return ".".join(problem.path), problem.code


def test_no_fire_comes_before_the_start(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(**CRON, start_at=FAR)

    assert schedule.next_run_at == datetime(2126, 1, 8, 9, tzinfo=UTC)


def test_a_fire_at_the_start_is_one(make_schedule: MakeSchedule) -> None:
    start = FAR.replace(hour=9, minute=0)

    assert make_schedule(**CRON, start_at=start).next_run_at == start


def test_an_interval_begins_at_its_start(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(start_at=FAR)

    assert schedule.next_run_at == FAR
    assert schedule.anchor_at == FAR - timedelta(minutes=1)


def test_a_start_that_has_passed_changes_nothing(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(start_at=datetime(2020, 1, 1, tzinfo=UTC))

    assert schedule.next_run_at == schedule.created_at + timedelta(minutes=1)


def test_an_end_before_the_first_fire_is_refused(make_schedule: MakeSchedule) -> None:
    soon = clock.now() + timedelta(seconds=30)

    assert problem_of(lambda: make_schedule(end_at=soon)) == ("end_at", "never")


def test_a_fire_at_the_end_is_the_last_one(make_schedule: MakeSchedule) -> None:
    end = datetime(2126, 1, 8, 9, tzinfo=UTC)

    assert make_schedule(**CRON, start_at=FAR, end_at=end).next_run_at == end


def test_an_edit_of_the_end_obeys_it_at_once(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    ended = schedules.current(schedule).model_copy(update={"end_at": clock.now()})

    field, _ = problem_of(lambda: schedules.update(schedule.id, ended, actor=audit.SYSTEM))

    assert field == "end_at"


def test_a_number_of_runs_that_is_reached_is_refused(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    Schedule.objects.filter(id=schedule.id).update(fired_count=3)
    few = schedules.current(schedule).model_copy(update={"max_runs": 3})
    more = schedules.current(schedule).model_copy(update={"max_runs": 4})

    field, _ = problem_of(lambda: schedules.update(schedule.id, few, actor=audit.SYSTEM))
    edited = schedules.update(schedule.id, more, actor=audit.SYSTEM)

    assert field == "max_runs"
    assert edited.next_run_at == schedule.next_run_at


def test_a_window_moves_no_nominal_fire(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    window = {"execution_window": {"weekdays": ["mon"]}}
    words = schedules.current(schedule).model_copy(update=window)

    edited = schedules.update(schedule.id, words, actor=audit.SYSTEM)

    assert edited.next_run_at == schedule.next_run_at


def test_a_window_that_its_calendar_always_closes_is_refused(
    make_schedule: MakeSchedule, owner: User
) -> None:
    words = calendars.parse({"name": "office", "weekend": ["sat", "sun"]})
    calendars.create(words, owner_id=owner.pk, actor=Actor.of(owner))
    on_weekends: dict[str, Any] = {
        "calendar": "office",
        "execution_window": {"weekdays": ["sat", "sun"]},
    }

    assert problem_of(lambda: make_schedule(**on_weekends)) == ("calendar", "never")
    assert make_schedule(calendar="office").next_run_at is not None


def test_a_pause_reaches_beyond_the_start(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(**CRON, start_at=FAR)

    paused = schedules.pause(
        schedule.id, reason="", until=FAR + timedelta(days=3), actor=audit.SYSTEM
    )

    assert paused.next_run_at == datetime(2126, 1, 11, 9, tzinfo=UTC)
