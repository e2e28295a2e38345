"""What is written down shortly before its instant is what would have been written at it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from executions_app import clock, lifecycle
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import dispatcher, outlook, queues, schedules
from scheduler_app.ahead import Ahead
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.schedules import current
from tests.scheduler_app.conftest import MakeSchedule, move_into_the_past

pytestmark = pytest.mark.django_db(transaction=True)

AHEAD_SECONDS = 10.0
SOON = timedelta(seconds=AHEAD_SECONDS * 0.9)
LATER = timedelta(seconds=30)
MINUTE = timedelta(minutes=1)


class FarAhead(Ahead):
    """Looks so far ahead that what is ahead stays ahead, however slow the machine."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = AHEAD_SECONDS


def soon(make_schedule: MakeSchedule, **words: object) -> Schedule:
    """A schedule whose next run is a moment ahead."""
    return make_schedule(late_by=-SOON, **words)


def test_a_fire_a_moment_ahead_is_recorded_queued_and_sent(make_schedule: MakeSchedule) -> None:
    schedule = soon(make_schedule)

    done = dispatcher.dispatch_due(FarAhead())

    execution = Execution.objects.get()
    record = FireRecord.objects.get()
    after = Schedule.objects.get()
    assert (done.fired, done.queued) == (1, 1)
    assert (record.reason, record.nominal_at, record.lateness_ms) == (
        "dispatched",
        schedule.next_run_at,
        0,
    )
    assert execution.status == "queued"
    assert execution.nominal_at == execution.due_at == execution.queued_at == schedule.next_run_at
    assert schedule.next_run_at is not None
    assert after.next_run_at == schedule.next_run_at + MINUTE
    assert queues.depths()["normal"] == 1


def test_a_fire_further_ahead_waits(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=-LATER)

    assert dispatcher.dispatch_due(FarAhead()).fired == 0


def test_without_looking_ahead_nothing_is_fired_before_its_instant(
    make_schedule: MakeSchedule,
) -> None:
    soon(make_schedule)

    assert dispatcher.dispatch_due().fired == 0


def test_whether_something_is_still_active_is_asked_at_the_instant(
    make_schedule: MakeSchedule,
) -> None:
    schedule = soon(make_schedule, overlap_policy="skip")
    active = schedules.trigger(schedule, actor=SYSTEM)
    looked = FarAhead()

    early = dispatcher.dispatch_due(looked)
    until_due = outlook.look().until_due(looked)
    lifecycle.cancel(Execution.objects.get(id=active))
    move_into_the_past(Schedule.objects.get(), timedelta())
    at_its_instant = dispatcher.dispatch_due(looked)

    assert (early.fired, at_its_instant.fired) == (0, 1)
    assert until_due is not None
    assert 0 <= until_due <= FarAhead().seconds
    assert FireRecord.objects.get().reason == "dispatched"


def test_what_may_overlap_is_fired_ahead_however_much_is_active(
    make_schedule: MakeSchedule,
) -> None:
    schedule = soon(make_schedule, overlap_policy="allow")
    schedules.trigger(schedule, actor=SYSTEM)

    assert dispatcher.dispatch_due(FarAhead()).fired == 1


def test_an_edit_after_a_fire_was_written_down_does_not_double_it(
    make_schedule: MakeSchedule,
) -> None:
    schedule = soon(make_schedule, schedule_config={"cron": "* * * * *"}, schedule_type="cron")
    nominal_at = schedule.next_run_at
    dispatcher.dispatch_due(FarAhead())
    Schedule.objects.update(next_run_at=nominal_at)

    again = dispatcher.dispatch_due(FarAhead())
    renamed = current(schedule).model_copy(update={"name": "another"})
    schedules.update(schedule.id, renamed, actor=SYSTEM)

    assert (again.fired, again.queued) == (0, 0)
    assert Execution.objects.count() == FireRecord.objects.count() == 1


def test_a_beat_wakes_up_ahead_of_the_first_fire(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=-LATER)
    seen = outlook.look()

    until_due = seen.until_due(FarAhead())

    assert seen.first_fire_at is not None
    until_fire = (seen.first_fire_at - seen.now).total_seconds()
    assert until_due == pytest.approx(until_fire - FarAhead().seconds)


def test_a_one_time_schedule_is_fired_once(make_schedule: MakeSchedule) -> None:
    run_at = clock.now() + SOON
    make_schedule(schedule_type="one_time", schedule_config={"run_at": run_at.isoformat()})

    fired = [dispatcher.dispatch_due(FarAhead()).fired for _ in range(2)]

    assert fired == [1, 0]
    assert Execution.objects.get().due_at == run_at


def test_busy_schedules_a_moment_ahead_keep_nothing_waiting_that_is_due(
    make_schedule: MakeSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_BATCH", 2)
    for number in range(3):
        busy = soon(make_schedule, name=f"busy {number}", overlap_policy="skip")
        schedules.trigger(busy, actor=SYSTEM)
    due = make_schedule("due", late_by=LATER, priority="low")
    looked = FarAhead()

    fired = dispatcher.dispatch_due(looked).fired

    assert fired == 1
    assert FireRecord.objects.get().schedule_id == due.id
    assert outlook.look().until_due(looked) != 0
