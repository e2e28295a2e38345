"""Nothing passes unrecorded: fires of a schedule that is off; schedules that pause themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db.models.functions import Now

from executions_app import audit, clock, ids
from executions_app.models import AuditEntry, Event, Execution, OutcomeInbox, SystemState
from scheduler_app import consequences, dispatcher, pauses, schedules
from scheduler_app.models import FireRecord, Schedule

MakeSchedule = Callable[..., Schedule]
pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def records_of(schedule: Schedule) -> list[tuple[datetime, str, int]]:
    rows = FireRecord.objects.filter(schedule_id=schedule.id).order_by("nominal_at")
    return list(rows.values_list("nominal_at", "reason", "count"))


def paused_since(schedule: Schedule, ago: timedelta) -> Schedule:
    """As if it had been paused so long ago, on a grid that began then."""
    schedules.pause(schedule.id, reason="maintenance", until=None, actor=audit.SYSTEM)
    rows = Schedule.objects.filter(id=schedule.id)
    rows.update(paused_at=Now() - ago, anchor_at=Now() - ago - timedelta(seconds=1))
    return rows.get()


def grid(schedule: Schedule, count: int) -> list[datetime]:
    return [schedule.anchor_at + place * MINUTE for place in range(1, count + 1)]


def test_a_schedule_that_fires_has_no_pause(make_schedule: MakeSchedule) -> None:
    assert make_schedule().paused_at is None


@pytest.mark.parametrize("change", ["pause", "disable"])
def test_a_schedule_that_is_off_knows_since_when(make_schedule: MakeSchedule, change: str) -> None:
    schedule = make_schedule()
    if change == "pause":
        schedules.pause(schedule.id, reason="", until=None, actor=audit.SYSTEM)
    else:
        schedules.disable(schedule.id, actor=audit.SYSTEM)

    schedule.refresh_from_db()

    assert schedule.paused_at is not None
    assert schedule.next_run_at is None


@pytest.mark.parametrize("is_by_itself", [False, True])
def test_the_fires_of_a_pause_are_those_of_the_grid_that_it_interrupts(
    make_schedule: MakeSchedule, is_by_itself: bool
) -> None:
    schedule = make_schedule(pause_after_failures=1)
    began = clock.now() - timedelta(minutes=10, seconds=20)
    rows = Schedule.objects.filter(id=schedule.id)
    rows.update(anchor_at=began, next_run_at=began + 11 * MINUTE)
    if is_by_itself:
        rows.update(consecutive_failures=1)
        schedules.pause_failing([schedule.id])
    else:
        schedules.pause(schedule.id, reason="", until=None, actor=audit.SYSTEM)
    off = rows.get()
    rows.update(paused_at=began + 8 * MINUTE + timedelta(seconds=10))

    schedules.resume(schedule.id, actor=audit.SYSTEM)

    assert off.anchor_at == began
    assert [at for at, *_ in records_of(schedule)] == [began + 9 * MINUTE, began + 10 * MINUTE]
    assert rows.get().anchor_at > began + 10 * MINUTE


def test_a_schedule_that_is_created_disabled_is_off_from_the_start(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(enabled=False)

    assert schedule.paused_at == schedule.created_at


def test_a_resume_records_each_fire_of_the_pause_once(make_schedule: MakeSchedule) -> None:
    schedule = paused_since(make_schedule(), timedelta(minutes=3, seconds=30))

    resumed = schedules.resume(schedule.id, actor=audit.SYSTEM)

    assert records_of(schedule) == [(one, "skipped_paused", 1) for one in grid(schedule, 3)]
    assert resumed.paused_at is None
    assert not Execution.objects.exists()


def test_of_a_long_pause_the_newest_hundred_are_recorded_alone(
    make_schedule: MakeSchedule,
) -> None:
    schedule = paused_since(make_schedule(), 250 * MINUTE + MINUTE / 2)

    schedules.resume(schedule.id, actor=audit.SYSTEM)

    records = records_of(schedule)
    first, *singles = records
    assert first == (grid(schedule, 1)[0], "skipped_paused", 150)
    assert [one[0] for one in singles] == grid(schedule, 250)[150:]
    assert {one[1:] for one in singles} == {("skipped_paused", 1)}
    summary = FireRecord.objects.get(count=150)
    assert summary.nominal_until == grid(schedule, 150)[-1]


def test_an_edit_during_a_pause_records_by_the_rule_that_was_passed_over(
    make_schedule: MakeSchedule,
) -> None:
    schedule = paused_since(make_schedule(), timedelta(minutes=2, seconds=30))
    slower = schedules.current(schedule).model_copy(update={"schedule_config": {"every": "1 day"}})

    edited = schedules.update(schedule.id, slower, actor=audit.SYSTEM)
    schedules.resume(schedule.id, actor=audit.SYSTEM)

    assert [one[0] for one in records_of(schedule)] == grid(schedule, 2)
    assert edited.paused_at is not None
    assert schedule.paused_at is not None
    assert edited.paused_at > schedule.paused_at


def test_an_edit_that_moves_nothing_leaves_the_pause_as_it_is(make_schedule: MakeSchedule) -> None:
    schedule = paused_since(make_schedule(), timedelta(minutes=2, seconds=30))
    renamed = schedules.current(schedule).model_copy(update={"name": "another name"})

    edited = schedules.update(schedule.id, renamed, actor=audit.SYSTEM)

    assert records_of(schedule) == []
    assert edited.paused_at == schedule.paused_at


def test_a_deletion_records_what_the_pause_has_passed_over(make_schedule: MakeSchedule) -> None:
    schedule = paused_since(make_schedule(), timedelta(minutes=2, seconds=30))

    schedules.delete(schedule.id, actor=audit.SYSTEM)

    assert [one[0] for one in records_of(schedule)] == grid(schedule, 2)


def test_what_is_overdue_in_a_stopped_system_is_recorded_before_an_edit_moves_it(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=2 * MINUTE + MINUTE / 2)
    SystemState.objects.update(scheduler_running=False)
    slower = schedules.current(schedule).model_copy(update={"schedule_config": {"every": "1 day"}})

    edited = schedules.update(schedule.id, slower, actor=audit.SYSTEM)

    assert schedule.next_run_at is not None
    overdue = [schedule.next_run_at + place * MINUTE for place in range(3)]
    assert records_of(schedule) == [(one, "skipped_paused", 1) for one in overdue]
    assert edited.next_run_at is not None
    assert edited.next_run_at > clock.now()


def test_what_is_overdue_in_a_stopped_system_waits_for_its_start_if_nothing_moves(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=MINUTE)
    SystemState.objects.update(scheduler_running=False)
    renamed = schedules.current(schedule).model_copy(update={"name": "another name"})

    edited = schedules.update(schedule.id, renamed, actor=audit.SYSTEM)

    assert records_of(schedule) == []
    assert edited.next_run_at == schedule.next_run_at


def test_fires_before_its_start_and_after_its_end_were_none(make_schedule: MakeSchedule) -> None:
    schedule = paused_since(make_schedule(), timedelta(minutes=5, seconds=30))
    second, _, fourth, *_ = grid(schedule, 5)[1:]
    Schedule.objects.filter(id=schedule.id).update(start_at=second, end_at=fourth)

    schedules.delete(schedule.id, actor=audit.SYSTEM)

    assert [one[0] for one in records_of(schedule)] == grid(schedule, 4)[1:]


def test_a_pause_that_ends_by_itself_is_recorded_without_anybody_resuming(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule()
    until = clock.now() + timedelta(hours=1)
    schedules.pause(schedule.id, reason="", until=until, actor=audit.SYSTEM)
    assert pauses.end_over() == 0
    rows = Schedule.objects.filter(id=schedule.id)
    rows.update(
        anchor_at=Now() - timedelta(minutes=4, seconds=30),
        paused_at=Now() - timedelta(minutes=4, seconds=29),
        paused_until=Now() - timedelta(minutes=1, seconds=29),
        next_run_at=Now() - timedelta(seconds=30),
    )
    schedule = rows.get()

    settled = pauses.end_over()

    assert settled == 1
    assert [one[0] for one in records_of(schedule)] == grid(schedule, 3)
    after = rows.get()
    assert (after.paused_at, after.next_run_at) == (None, schedule.next_run_at)
    assert pauses.end_over() == 0


def test_a_fire_that_was_recorded_before_the_pause_keeps_its_record(
    make_schedule: MakeSchedule,
) -> None:
    schedule = paused_since(make_schedule(), timedelta(minutes=2, seconds=30))
    first, second = grid(schedule, 2)
    FireRecord.objects.create(
        id=schedule.id, schedule_id=schedule.id, nominal_at=first, reason="dispatched"
    )

    schedules.resume(schedule.id, actor=audit.SYSTEM)

    assert records_of(schedule) == [(first, "dispatched", 1), (second, "skipped_paused", 1)]


def test_a_corrupt_rule_has_no_fires_and_can_be_corrected(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=MINUTE, enabled=True)
    Schedule.objects.filter(id=schedule.id).update(
        schedule_config={"interval_ms": "soon"}, enabled=False, paused_at=Now() - MINUTE
    )
    words = schedules.current(schedule)

    corrected = schedules.update(schedule.id, words, actor=audit.SYSTEM)

    assert corrected.schedule_config == {"interval_ms": 60_000}
    assert records_of(schedule) == []


def ended(schedule: Schedule, *statuses: str) -> None:
    """Executions of the schedule ended so, one after the other."""
    now = clock.now()
    for place, status in enumerate(statuses):
        OutcomeInbox.objects.create(
            id=ids.new(now),
            execution_id=ids.new(now),
            schedule_id=schedule.id,
            status=status,
            outcome="",
            completed_at=now + place * timedelta(seconds=1),
        )
    consequences.draw()
    schedule.refresh_from_db()


def test_a_schedule_pauses_itself_after_its_failures_in_a_row(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(pause_after_failures=3)

    ended(schedule, "failed", "failed")
    before = schedule.enabled
    ended(schedule, "failed")

    assert before
    assert not schedule.enabled
    assert schedule.pause_reason == "paused by itself after 3 failures in a row"
    assert schedule.next_run_at is None
    assert schedule.paused_at is not None
    told = AuditEntry.objects.get(action="schedule.updated")
    assert (told.actor, told.after) == (
        "system", {"enabled": False, "pause_reason": schedule.pause_reason},
    )  # fmt: skip
    assert Event.objects.filter(type="schedule:updated", schedule_id=schedule.id).count() == 1


def test_a_success_between_failures_keeps_a_schedule_going(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(pause_after_failures=2)

    ended(schedule, "failed", "completed", "failed")

    assert schedule.enabled


def test_a_schedule_without_a_bound_never_pauses_itself(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()

    ended(schedule, *["failed"] * 50)

    assert schedule.enabled


def test_a_schedule_that_was_resumed_may_fail_as_often_again(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(pause_after_failures=2)
    ended(schedule, "failed", "failed")

    schedules.resume(schedule.id, actor=audit.SYSTEM)
    ended(schedule, "failed")
    once_more = schedule.enabled
    ended(schedule, "failed")

    assert once_more
    assert not schedule.enabled


def test_a_schedule_that_somebody_disabled_is_not_paused_again(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(pause_after_failures=1)
    schedules.pause(schedule.id, reason="by hand", until=None, actor=audit.SYSTEM)

    ended(schedule, "failed")

    assert schedule.pause_reason == "by hand"


def test_what_passes_while_a_schedule_cannot_be_dispatched_is_recorded(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=MINUTE + MINUTE / 2)
    Schedule.objects.filter(id=schedule.id).update(retry_policy={"max_retries": "many"})
    dispatcher.dispatch_due()
    words = schedules.current(schedule)

    corrected = schedules.update(schedule.id, words, actor=audit.SYSTEM)

    assert schedule.next_run_at is not None
    passed = [schedule.next_run_at, schedule.next_run_at + MINUTE]
    assert records_of(schedule) == [(one, "skipped_paused", 1) for one in passed]
    assert corrected.enabled
