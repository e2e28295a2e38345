"""When a beat looks for expired leases: in time, page after page, and despite a bad connection."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from config.env import env
from errors_app import rescuer
from executions_app import lifecycle
from executions_app.models import Execution
from scheduler_app import rescues
from scheduler_app.beat import AFTER_TROUBLE_SECONDS, Metronome
from scheduler_app.models import Schedule
from scheduler_app.rescues import Rescues

MakeSchedule = Callable[..., Schedule]
SECOND = timedelta(seconds=1)
LONG_SECONDS = 2 * rescues.FEW_SECONDS


def after_losing(number: int, make_schedule: MakeSchedule) -> Metronome:
    """A beat whose rescuer is due, and so many executions whose worker is gone."""
    for nth in range(number):
        make_schedule(f"job {nth}", late_by=SECOND)
    metronome = Metronome()
    metronome.beat()
    queued = list(Execution.objects.values_list("id", flat=True))
    assert len(lifecycle.claim(queued, worker_id="worker-1")) == number
    Execution.objects.update(lease_expires_at=Now() - SECOND, slice_size=1)
    metronome._rescues.due_at = float("-inf")
    return metronome


@pytest.mark.django_db(transaction=True)
def test_after_a_full_page_of_lost_executions_the_beat_goes_on_without_a_rest(
    make_schedule: MakeSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescuer, "PAGE", 2)
    metronome = after_losing(5, make_schedule)

    rounds = [(metronome.beat(), running()) for _ in range(3)]

    assert [left for _, left in rounds] == [3, 1, 0]
    assert [wait == 0 for wait, _ in rounds] == [True, True, False]


def running() -> int:
    return Execution.objects.filter(status="running").count()


@pytest.mark.django_db(transaction=True)
def test_what_becomes_due_while_there_are_more_pages_is_dispatched_between_them(
    make_schedule: MakeSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescuer, "PAGE", 1)
    metronome = after_losing(3, make_schedule)
    metronome.beat()
    new = make_schedule("a new one", late_by=SECOND)

    metronome.beat()

    assert Execution.objects.get(schedule_id=new.id).status == "queued"
    assert running() == 1


@pytest.mark.django_db(transaction=True)
def test_a_lost_connection_postpones_no_rescue(
    make_schedule: MakeSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    metronome = after_losing(1, make_schedule)
    with monkeypatch.context() as away:
        connection.close()
        away.setitem(connection.settings_dict, "NAME", "nowhere")
        metronome.beat()
        connection.close()

    metronome.beat()

    assert Execution.objects.get().status == "pending"


def came_back(turns: Rescues, *, at: float, after: float) -> None:
    turns.postgres_is_away(since=at - after)
    turns.postgres_is_away(since=at - AFTER_TROUBLE_SECONDS)
    turns.postgres_answers(now=at)


def test_after_a_long_absence_the_rescuer_waits_one_period() -> None:
    turns = Rescues()

    came_back(turns, at=1000.0, after=LONG_SECONDS)

    assert not turns.is_due(now=1000.0 + env.rescue_seconds - 0.1)
    assert turns.is_due(now=1000.0 + env.rescue_seconds)


def test_connections_that_break_all_the_time_postpone_no_rescue() -> None:
    turns = Rescues()
    turns.due_at = 1010.0

    for at in range(1001, 1011, 3):
        came_back(turns, at=float(at), after=AFTER_TROUBLE_SECONDS)

    assert turns.is_due(now=1010.0)


def test_absences_that_never_end_postpone_the_rescuer_by_a_lease_at_most() -> None:
    turns = Rescues()
    turns.due_at = 1000.0

    dues = []
    for at in range(1000, 1100, 8):
        came_back(turns, at=float(at), after=LONG_SECONDS)
        dues.append(turns.due_at)

    assert max(dues) == 1000.0 + env.lease_seconds


@pytest.mark.django_db
def test_each_look_of_the_rescuer_begins_a_new_count_of_what_it_is_postponed() -> None:
    turns = Rescues()
    came_back(turns, at=1000.0, after=LONG_SECONDS)

    turns.rescue()
    came_back(turns, at=2000.0, after=LONG_SECONDS)

    assert turns.due_at == 2000.0 + env.rescue_seconds


def test_an_absence_ends_a_pass_so_that_a_full_page_does_not_overrule_it() -> None:
    turns = Rescues()
    turns._place.has_more = True

    came_back(turns, at=1000.0, after=LONG_SECONDS)

    assert not turns.is_due(now=1000.0)
