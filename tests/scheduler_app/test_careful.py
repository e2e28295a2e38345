"""What is written for schedules that are not plain: windows, delays, ends, keys, limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions_app import clock, ids, lifecycle
from executions_app.audit import Actor
from executions_app.ledger import Claimed
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app import by_hand, consequences, dispatcher, doors
from scheduler_app.by_hand import Wanted
from scheduler_app.limiting import limits_in_force, unique
from scheduler_app.models import BusinessCalendar, FireRecord, Limit, Schedule, UniqueWork
from tests import verbs
from tests.factories import ExecutionFactory
from tests.scheduler_app.conftest import DAYS, in_days, in_two_days, midnight_in, move_into_the_past

MakeSchedule = Callable[..., Schedule]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
IN_25_HOURS = {"unique_mode": "debounce", "unique_for_ms": 25 * 3_600_000}


def reasons(schedule: Schedule) -> list[str]:
    rows = FireRecord.objects.filter(schedule_id=schedule.id).order_by("nominal_at")
    return list(rows.values_list("reason", flat=True))


def only(schedule: Schedule) -> Execution:
    return Execution.objects.get(schedule_id=schedule.id)


def in_force(schedule: Schedule, **columns: Any) -> Schedule:
    """Say something that makes the schedule special, once it is due."""
    Schedule.objects.filter(id=schedule.id).update(**columns)
    schedule.refresh_from_db()
    return schedule


@pytest.mark.django_db
def test_a_fire_outside_its_window_is_skipped_and_the_next_comes(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=SECOND, execution_window=in_two_days())
    due_at = schedule.next_run_at
    assert due_at is not None

    dispatcher.dispatch_due()

    schedule.refresh_from_db()
    assert reasons(schedule) == ["skipped_window"]
    assert (schedule.next_run_at, schedule.last_run_at) == (due_at + MINUTE, None)
    assert not Execution.objects.exists()
    assert (schedule.fired_count, schedule.missed_count) == (0, 0)


@pytest.mark.django_db
def test_a_fire_outside_its_window_waits_for_the_next_opening(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(
        late_by=SECOND, execution_window=in_two_days(), outside_window="next_opening"
    )

    done = dispatcher.dispatch_due()

    waiting = only(schedule)
    assert reasons(schedule) == ["dispatched"]
    assert (waiting.status, waiting.due_at, waiting.held_by) == ("pending", midnight_in(2), "")
    assert (done.fired, done.queued) == (1, 0)


@pytest.mark.django_db
def test_a_fire_on_a_holiday_of_its_calendar_is_skipped(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=SECOND)
    today = f"{clock.now():%Y-%m-%d}"
    calendar = BusinessCalendar.objects.create(
        id=ids.new(clock.now()),
        owner_id=schedule.owner_id,
        name="days off",
        weekend=[],
        holidays=[{"date": today, "name": ""}],
    )
    in_force(schedule, calendar=calendar)

    dispatcher.dispatch_due()

    assert reasons(schedule) == ["skipped_calendar"]


@pytest.mark.django_db
def test_jitter_and_spread_let_a_fire_start_later(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=SECOND, jitter_ms=3_600_000, spread_ms=3_600_000)
    nominal_at = schedule.next_run_at
    assert nominal_at is not None
    delay = doors.delay_of(schedule.id, nominal_at, jitter_ms=3_600_000, spread_ms=3_600_000)

    dispatcher.dispatch_due()

    assert delay > SECOND
    assert (only(schedule).status, only(schedule).due_at) == ("pending", nominal_at + delay)


@pytest.mark.django_db
def test_a_delay_that_has_passed_already_starts_at_once(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=SECOND, jitter_ms=1)

    dispatcher.dispatch_due()

    assert only(schedule).status == "queued"


@pytest.mark.django_db
def test_after_its_last_run_a_schedule_is_finished(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(max_runs=2)
    move_into_the_past(schedule, SECOND)
    dispatcher.dispatch_due()
    Execution.objects.update(status="completed", completed_at=clock.now())
    Schedule.objects.filter(id=schedule.id).update(next_run_at=clock.now() - SECOND / 2)

    dispatcher.dispatch_due()

    schedule.refresh_from_db()
    assert Execution.objects.filter(schedule_id=schedule.id).count() == 2
    assert (schedule.fired_count, schedule.enabled, schedule.next_run_at) == (2, False, None)


@pytest.mark.django_db
def test_a_run_that_is_skipped_does_not_count(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(max_runs=2)
    move_into_the_past(schedule, SECOND)
    dispatcher.dispatch_due()
    Schedule.objects.filter(id=schedule.id).update(next_run_at=clock.now() - SECOND / 2)

    dispatcher.dispatch_due()

    schedule.refresh_from_db()
    assert reasons(schedule) == ["dispatched", "skipped_overlap"]
    assert (schedule.fired_count, schedule.enabled) == (1, True)


@pytest.mark.django_db
def test_no_fire_comes_after_its_end(make_schedule: MakeSchedule) -> None:
    words = {"catchup_policy": "all", "catchup_limit": 9, "overlap_policy": "allow"}
    schedule = make_schedule(late_by=3 * MINUTE + SECOND, **words)
    in_force(schedule, end_at=clock.now() - MINUTE / 2)

    dispatcher.dispatch_due()

    schedule.refresh_from_db()
    assert reasons(schedule) == ["dispatched"] * 3
    assert (schedule.enabled, schedule.next_run_at) == (False, None)


@pytest.mark.django_db
def test_a_fire_that_was_due_after_its_end_was_none(make_schedule: MakeSchedule) -> None:
    schedule = in_force(make_schedule(late_by=SECOND), end_at=clock.now() - MINUTE)

    dispatcher.dispatch_due()

    schedule.refresh_from_db()
    assert (reasons(schedule), schedule.enabled) == ([], False)


@pytest.mark.django_db
def test_an_execution_has_the_keys_and_the_end_that_its_schedule_says(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(
        late_by=SECOND, limit_key="program:{command.0}", run_ttl_ms=60_000, max_concurrent=1
    )

    dispatcher.dispatch_due()

    made = only(schedule)
    assert made.limit_key == "program:true"
    assert made.expires_at == made.due_at + MINUTE


@pytest.mark.django_db
def test_work_that_is_there_already_is_a_duplicate(make_schedule: MakeSchedule) -> None:
    first = make_schedule("first", late_by=SECOND, unique_key="the report")
    second = make_schedule("second", late_by=SECOND, unique_key="the report")

    dispatcher.dispatch_due()

    assert sorted(reasons(first) + reasons(second)) == ["dispatched", "skipped_duplicate"]
    made = Execution.objects.get()
    runs = dict(Schedule.objects.values_list("id", "fired_count"))
    assert runs == {one.id: int(one.id == made.schedule_id) for one in (first, second)}


@pytest.mark.django_db
def test_what_is_under_a_limit_is_pending_until_it_is_admitted(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=SECOND, max_concurrent=1, overlap_policy="allow")

    done = dispatcher.dispatch_due()

    assert only(schedule).status == "queued"
    assert (done.fired, done.queued) == (1, 1)


@pytest.mark.django_db
def test_a_plain_schedule_under_a_limit_needs_care_and_gets_it(
    make_schedule: MakeSchedule,
) -> None:
    several = [make_schedule(f"job {n}", late_by=SECOND) for n in range(3)]
    Limit.objects.create(id=ids.new(clock.now()), key="task:shell_command", max_concurrent=2)
    limits_in_force.forget()

    try:
        dispatcher.dispatch_due()
    finally:
        limits_in_force.forget()

    made = Execution.objects.filter(schedule_id__in=[one.id for one in several])
    assert sorted(made.values_list("status", flat=True)) == ["pending", "queued", "queued"]
    assert made.get(status="pending").held_by == "limit:task:shell_command"


@pytest.mark.django_db
def test_plain_and_special_schedules_of_one_batch_are_all_fired(
    make_schedule: MakeSchedule,
) -> None:
    make_schedule("plain", late_by=SECOND)
    make_schedule("special", late_by=SECOND, overlap_policy="buffer_one")
    make_schedule("closed", late_by=SECOND, execution_window=in_two_days())

    done = dispatcher.dispatch_due()

    assert (done.fired, done.queued, done.disabled) == (3, 2, [])
    assert set(Schedule.objects.values_list("name", "fired_count")) == {
        ("plain", 1),
        ("special", 1),
        ("closed", 0),
    }


@pytest.mark.django_db
def test_words_that_make_no_sense_disable_their_schedule_only(
    make_schedule: MakeSchedule,
) -> None:
    broken = in_force(make_schedule("broken", late_by=SECOND), execution_window={"hours": ["soon"]})
    sound = make_schedule("sound", late_by=SECOND, execution_window={"weekdays": list(DAYS)})

    done = dispatcher.dispatch_due()

    assert done.disabled == ["broken"]
    assert (reasons(broken), reasons(sound)) == ([], ["dispatched"])


def queries_to_dispatch(make_schedule: MakeSchedule, number: int, **words: Any) -> int:
    for place in range(number):
        make_schedule(f"{words} {number} {place}", late_by=SECOND, **words)
    with CaptureQueriesContext(connection) as captured:
        done = dispatcher.dispatch_due()
    assert done.fired == number
    # Which limits are in force is asked once a second, however much is due.
    return len([one for one in captured if "FROM limits" not in one["sql"]])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "words",
    [
        {"overlap_policy": "buffer_all"},
        {"jitter_ms": 1_000},
        {"execution_window": {"hours": ["00:00-24:00"]}},
        {"run_ttl_ms": 1_000},
    ],
    ids=str,
)
def test_many_special_schedules_cost_no_more_statements_than_few(
    make_schedule: MakeSchedule, words: dict[str, Any]
) -> None:
    queries_to_dispatch(make_schedule, 1, **words)  # partitions and the like are known after it

    few = queries_to_dispatch(make_schedule, 2, **words)
    many = queries_to_dispatch(make_schedule, 20, **words)

    assert many == few


@pytest.mark.django_db
def test_the_same_batch_again_makes_nothing_twice(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=SECOND, overlap_policy="buffer_all")
    nominal_at = schedule.next_run_at
    dispatcher.dispatch_due()
    in_force(schedule, next_run_at=nominal_at)

    dispatcher.dispatch_due()

    assert reasons(schedule) == ["dispatched"]
    assert Execution.objects.filter(schedule_id=schedule.id).count() == 1
    assert isinstance(only(schedule).id, UUID)


@pytest.mark.django_db
def test_what_is_put_off_does_not_expire_before_it_is_due(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(
        late_by=SECOND,
        unique_key="the one",
        unique_mode="debounce",
        unique_for_ms=3_600_000,
        run_ttl_ms=600_000,
    )

    dispatcher.dispatch_due()

    waiting = only(schedule)
    assert waiting.due_at > clock.now() + 30 * MINUTE
    assert waiting.expires_at == waiting.due_at + 10 * MINUTE


@pytest.mark.django_db
def test_a_fire_with_a_record_ends_nothing_takes_no_key_and_is_no_run(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(
        late_by=SECOND,
        overlap_policy="cancel_running",
        unique_key="the one",
        unique_mode="replace",
        max_runs=9,
    )
    nominal_at = schedule.next_run_at
    dispatcher.dispatch_due()
    lifecycle.claim([only(schedule).id], worker_id="w:1:x")
    in_force(schedule, next_run_at=nominal_at)

    dispatcher.dispatch_due()

    schedule.refresh_from_db()
    running = only(schedule)
    assert (running.status, running.cancel_requested_at) == ("running", None)
    assert UniqueWork.objects.get().execution_id == running.id
    assert (schedule.fired_count, reasons(schedule)) == (1, ["dispatched"])


@pytest.mark.django_db
def test_a_last_run_that_is_a_duplicate_leaves_its_place_to_the_next_missed_fire(
    make_schedule: MakeSchedule,
) -> None:
    make_schedule("holder", late_by=SECOND, unique_key="the report")
    dispatcher.dispatch_due()
    limited = make_schedule(
        late_by=2 * MINUTE + SECOND,
        unique_key="the report",
        max_runs=1,
        overlap_policy="allow",
        catchup_policy="all",
        catchup_limit=9,
    )

    for _ in range(2):
        dispatcher.dispatch_due()
    Execution.objects.update(status="completed", completed_at=clock.now())
    dispatcher.dispatch_due()

    limited.refresh_from_db()
    assert reasons(limited) == ["skipped_duplicate", "skipped_duplicate", "dispatched"]
    assert (limited.fired_count, limited.enabled) == (1, False)


@pytest.mark.django_db
def test_a_fire_that_is_put_off_waits_for_its_window_and_expires_after_it(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(
        late_by=SECOND,
        execution_window=in_days(0),
        unique_key="k",
        run_ttl_ms=60_000,
        **IN_25_HOURS,
    )

    dispatcher.dispatch_due()

    waiting = only(schedule)
    assert waiting.due_at == midnight_in(7)
    assert waiting.expires_at == midnight_in(7) + MINUTE


@pytest.mark.django_db
def test_a_fire_puts_off_what_a_person_asked_for_but_leaves_its_parameters(
    make_schedule: MakeSchedule,
) -> None:
    words = {"unique_key": "k", "overlap_policy": "allow", **IN_25_HOURS}
    schedule = make_schedule(late_by=SECOND, **words)
    wanted = Wanted({"order": 7})
    asked = by_hand.trigger(schedule, wanted, actor=Actor.of(schedule.owner)).execution_id
    soon = clock.now() + MINUTE
    Execution.objects.filter(id=asked).update(due_at=soon)

    dispatcher.dispatch_due()

    waiting = only(schedule)
    assert reasons(schedule) == ["skipped_duplicate"]
    assert (waiting.parameters, waiting.due_at > soon) == ({"order": 7}, True)


def replacing(make_schedule: MakeSchedule) -> tuple[Schedule, Claimed]:
    """A schedule that is due, and work of its key that runs for another one of the owner."""
    words = {"unique_key": "the one", "unique_mode": "replace"}
    other = make_schedule("other", late_by=SECOND, **words)
    dispatcher.dispatch_due()
    (running,) = lifecycle.claim([only(other).id], worker_id="w:1:x")
    mine = make_schedule("mine", late_by=SECOND, overlap_policy="cancel_running", **words)
    return mine, running


@pytest.mark.django_db
def test_who_has_cancelled_what_had_not_started_still_waits_for_work_of_its_key(
    make_schedule: MakeSchedule,
) -> None:
    mine, running = replacing(make_schedule)
    unstarted = ExecutionFactory.create(owner=mine.owner, schedule_id=mine.id)

    dispatcher.dispatch_due()

    made = Execution.objects.get(schedule_id=mine.id, trigger="time")
    assert Execution.objects.get(id=unstarted.id).status == "cancelled"
    assert Execution.objects.get(id=running.id).cancel_requested_at is not None
    assert (made.status, made.held_by) == ("pending", "unique:the one")


@pytest.mark.django_db
def test_who_waits_for_its_schedule_and_for_its_key_waits_for_both(
    make_schedule: MakeSchedule,
) -> None:
    mine, running = replacing(make_schedule)
    row = ExecutionFactory.create(
        owner=mine.owner, schedule_id=mine.id, status=ExecutionStatus.QUEUED
    )
    (beside,) = lifecycle.claim([row.id], worker_id="w:1:x")

    dispatcher.dispatch_due()
    made = Execution.objects.get(schedule_id=mine.id, trigger="time")
    places = [made.held_by]
    verbs.cancelled(beside)
    consequences.draw()
    made.refresh_from_db()
    places.append(made.held_by)
    verbs.cancelled(running)
    unique.release(limit=10)
    made.refresh_from_db()

    assert [*places, made.held_by] == [f"overlap:{mine.id}", "unique:the one", ""]
