"""Beats that do not see the same Redis say one thing together."""

from __future__ import annotations

from datetime import timedelta

import pytest

from executions_app import clock
from executions_app.models import Event
from scheduler_app import system

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

    soon = system.note_tick(problem="", now=now + 4 * SECOND)
    later = system.note_tick(problem="", now=now + 6 * SECOND)

    assert (soon.status, soon.problem) == ("error", "Redis is away")
    assert (later.status, later.problem) == ("idle", "")
