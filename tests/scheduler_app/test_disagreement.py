"""Beats that do not see the same Redis say one thing together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from executions_app import clock
from executions_app.audit import SYSTEM
from executions_app.models import Event
from scheduler_app import system
from tests.scheduler_app.conftest import MakeSchedule

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


def test_two_beats_that_disagree_about_redis_do_not_take_turns_in_saying_so() -> None:
    now = clock.now()

    for _ in range(10):
        system.note_tick(problem="Redis is away", now=now)
        system.note_tick(problem="", now=now + SECOND / 2)
        now += SECOND

    assert (system.read().status, system.read().problem) == ("error", "Redis is away")
    told = Event.objects.filter(type="scheduler:status").order_by("xid", "id")
    assert [one.data["status"] for one in told] == ["error"]


def test_an_error_is_over_once_no_beat_has_had_it_for_a_moment() -> None:
    now = clock.now()
    system.note_tick(problem="Redis is away", now=now)

    system.note_tick(problem="", now=now + 4 * SECOND)
    soon = system.read()
    system.note_tick(problem="", now=now + 6 * SECOND)
    later = system.read()

    assert (soon.status, soon.problem) == ("error", "Redis is away")
    assert (later.status, later.problem) == ("idle", "")


def test_a_tick_of_a_system_that_is_well_is_one_statement(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    system.note_tick(problem="", now=clock.now())
    now = clock.now() + SECOND

    with django_assert_num_queries(1):
        system.note_tick(problem="", now=now)

    assert system.read().scheduler_last_tick_at == now
    assert system.read().status == "idle"


def test_a_tick_sees_that_there_is_work_and_that_it_was_stopped(
    make_schedule: MakeSchedule,
) -> None:
    found = []
    changes: list[Callable[[], object]] = [str, make_schedule, lambda: system.stop(SYSTEM)]
    for change in changes:
        change()
        system.note_tick(problem="", now=clock.now())
        found.append(system.read().status)

    assert found == ["idle", "running", "paused"]
