"""`why`: one sentence from the rows alone for every way in which a fire can come out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from executions_app import clock, events, ids, lifecycle
from executions_app.audit import SYSTEM, Actor
from executions_app.events import NewEvent
from executions_app.models import Execution, SystemState
from scheduler_app import consequences, definition, dispatcher, schedules, system
from scheduler_app.foresight import past, why
from scheduler_app.models import BusinessCalendar, FireRecord, Schedule
from scheduler_app.policies import FireReason
from scheduler_app.sources import internal
from tests.factories import ExecutionFactory

MakeSchedule = Callable[..., Schedule]
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NINE = {"schedule_type": "cron", "schedule_config": {"cron": "0 9 * * *"}}


def explain(schedule: Schedule, at: datetime | None = None) -> why.Why:
    schedule.refresh_from_db()
    return why.explain(schedule, at=at, now=clock.now())


def record(schedule: Schedule, reason: FireReason, at: datetime) -> FireRecord:
    """As the dispatcher would have written it."""
    now = clock.now()
    return FireRecord.objects.create(
        id=ids.new(now), schedule_id=schedule.id, nominal_at=at, reason=reason, created_at=now
    )


def is_older(schedule: Schedule, by: timedelta = timedelta(days=30)) -> None:
    """As if it had been created long ago."""
    Schedule.objects.filter(id=schedule.id).update(
        created_at=Now() - by, anchor_at=schedule.anchor_at - by
    )
    schedule.refresh_from_db()


def words(schedule: Schedule, **changes: object) -> definition.Definition:
    return schedules.current(schedule).model_copy(update=changes)


def test_a_fire_that_ran_is_told_with_its_execution(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5.5))
    dispatcher.dispatch_due()

    answer = explain(schedule)

    execution = Execution.objects.get()
    assert answer.code == FireReason.DISPATCHED
    assert answer.execution == execution
    assert f"became execution #{execution.number}, 5 s late" in answer.sentence
    assert "Stands in queue 'normal'" in answer.sentence


def test_a_fire_is_found_by_its_minute_and_by_its_exact_instant(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5))
    nominal = schedule.next_run_at
    assert nominal is not None
    dispatcher.dispatch_due()

    exact = explain(schedule, nominal)
    by_minute = explain(schedule, nominal.replace(second=0, microsecond=0))

    assert exact.fire is not None
    assert exact.fire == by_minute.fire


def test_a_skipped_overlap_names_the_execution_that_had_not_ended(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5))
    dispatcher.dispatch_due()
    # A record of the same instant as its execution would leave it open which came first.
    active = Execution.objects.get()
    fire = record(schedule, FireReason.SKIPPED_OVERLAP, clock.now() + MINUTE)
    FireRecord.objects.filter(id=fire.id).update(created_at=Now() + MINUTE)

    answer = explain(schedule)

    assert answer.code == FireReason.SKIPPED_OVERLAP
    assert f"execution #{active.number} had not ended" in answer.sentence
    assert "overlap policy is 'skip'" in answer.sentence


def test_one_of_many_missed_fires_is_found_in_their_summary(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=10 * HOUR)
    is_older(schedule)
    first = schedule.next_run_at
    assert first is not None
    dispatcher.dispatch_due()

    answer = explain(schedule, first + 30 * MINUTE)
    beside = explain(schedule, first + 30 * MINUTE + timedelta(seconds=1, microseconds=1))

    assert answer.code == FireReason.MISSED_COALESCED
    assert answer.fire is not None
    assert answer.fire.count > 100
    assert "of which this is one" in answer.sentence
    assert beside.code == "not_a_fire"


def test_an_instant_beside_the_rule_is_told_with_its_neighbours(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(**NINE)
    is_older(schedule)
    noon = (clock.now() - timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)

    answer = explain(schedule, noon)

    assert answer.code == "not_a_fire"
    assert f"{noon:%Y-%m-%d}T09:00:00Z" in answer.sentence
    assert f"{noon + timedelta(days=1):%Y-%m-%d}T09:00:00Z" in answer.sentence
    assert "At 09:00" in answer.sentence


def test_before_its_creation_there_was_no_schedule(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()

    assert explain(schedule, clock.now() - HOUR).code == "not_created"


def test_who_disabled_a_schedule_is_named_with_the_reason(
    make_schedule: MakeSchedule, owner: User
) -> None:
    schedule = make_schedule(**NINE)
    at = schedule.next_run_at
    assert at is not None
    schedules.pause(schedule.id, reason="audit", until=None, actor=Actor.of(owner))

    answer = explain(schedule, at)

    assert answer.code == "disabled"
    assert "by owner since" in answer.sentence
    assert answer.sentence.endswith(": audit.")


def test_a_pause_is_told_with_its_end_and_what_lies_after_it_is_not_due_yet(
    make_schedule: MakeSchedule, owner: User
) -> None:
    schedule = make_schedule()
    at = schedule.next_run_at
    assert at is not None
    until = clock.now() + HOUR
    schedules.pause(schedule.id, reason="moving", until=until, actor=Actor.of(owner))

    during, after = explain(schedule, at), explain(schedule, at + 90 * MINUTE)

    assert (during.code, after.code) == ("paused", "not_due")
    assert "paused until" in during.sentence
    assert "moving" in during.sentence


def test_who_asks_for_the_latest_fire_of_a_paused_schedule_hears_of_the_pause(
    make_schedule: MakeSchedule, owner: User
) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5.5))
    dispatcher.dispatch_due()
    running = explain(schedule)
    until = clock.now() + HOUR
    schedules.pause(schedule.id, reason="moving", until=until, actor=Actor.of(owner))

    paused = explain(schedule)

    assert paused.code == running.code == FireReason.DISPATCHED
    assert "paused" not in running.sentence
    assert "became execution #" in paused.sentence
    assert "The schedule is paused until" in paused.sentence
    assert paused.sentence.endswith(": moving.")


def test_who_asks_for_the_latest_fire_of_a_disabled_schedule_hears_who_disabled_it(
    make_schedule: MakeSchedule, owner: User
) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5.5))
    dispatcher.dispatch_due()
    schedules.pause(schedule.id, reason="audit", until=None, actor=Actor.of(owner))

    answer = explain(schedule)

    assert answer.code == FireReason.DISPATCHED
    assert f"The schedule is disabled by {owner.get_username()} since" in answer.sentence
    assert answer.sentence.count("disabled") == 1


def ends_with_its_next_fire(schedule: Schedule) -> None:
    """It fires once more, and that was all."""
    Schedule.objects.filter(id=schedule.id).update(max_runs=1, next_run_at=Now() - SECOND)
    dispatcher.dispatch_due()
    schedule.refresh_from_db()
    assert not schedule.enabled


@pytest.mark.django_db(transaction=True)  # the clock stands within a transaction
def test_what_has_made_all_its_runs_was_disabled_by_nobody_who_had_resumed_it(
    make_schedule: MakeSchedule, owner: User
) -> None:
    schedule = make_schedule()
    schedules.pause(schedule.id, reason="audit", until=None, actor=Actor.of(owner))
    schedules.resume(schedule.id, actor=Actor.of(owner))
    ends_with_its_next_fire(schedule)

    answer = explain(schedule)

    assert answer.sentence.endswith("The schedule was finished: it made one run and has no more.")


@pytest.mark.django_db(transaction=True)  # the clock stands within a transaction
def test_two_acts_of_one_millisecond_are_told_in_their_order(
    make_schedule: MakeSchedule, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5.5))
    dispatcher.dispatch_due()
    first = ids.floor(clock.now()).int
    of_one_millisecond = (UUID(int=first + left) for left in range(9, 0, -1))
    monkeypatch.setattr("executions_app.audit.ids.new", lambda _: next(of_one_millisecond))
    schedules.pause(schedule.id, reason="audit", until=None, actor=SYSTEM)
    schedules.resume(schedule.id, actor=SYSTEM)
    schedules.pause(schedule.id, reason="again", until=None, actor=Actor.of(owner))
    monkeypatch.undo()

    answer = explain(schedule)

    assert "disabled by owner since" in answer.sentence
    assert answer.sentence.endswith(": again.")


def test_what_has_made_all_its_runs_is_not_off_for_the_reason_of_a_pause_that_is_over(
    make_schedule: MakeSchedule, owner: User
) -> None:
    schedule = make_schedule()
    until = clock.now() + HOUR
    schedules.pause(schedule.id, reason="moving", until=until, actor=Actor.of(owner))
    Schedule.objects.filter(id=schedule.id).update(paused_until=Now() - SECOND)
    ends_with_its_next_fire(schedule)

    answer = explain(schedule)

    assert answer.sentence.endswith("The schedule was finished: it made one run and has no more.")


def test_who_disables_a_schedule_is_not_given_the_reason_of_a_pause_that_is_over(
    make_schedule: MakeSchedule, owner: User
) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5.5))
    dispatcher.dispatch_due()
    until = clock.now() + HOUR
    schedules.pause(schedule.id, reason="moving", until=until, actor=Actor.of(owner))
    Schedule.objects.filter(id=schedule.id).update(paused_until=Now() - SECOND)
    schedules.disable(schedule.id, actor=Actor.of(owner))

    answer = explain(schedule)

    assert "disabled by owner since" in answer.sentence
    assert "moving" not in answer.sentence


def test_what_disabled_itself_without_an_act_says_why(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5.5))
    dispatcher.dispatch_due()
    Schedule.objects.filter(id=schedule.id).update(enabled=False, pause_reason="no next run")

    answer = explain(schedule)

    assert answer.sentence.endswith("The schedule is disabled: no next run.")


def test_a_manual_schedule_is_never_started_by_time(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(trigger_type="manual", schedule_type="", schedule_config={})

    answer = explain(schedule, clock.now())

    assert answer.code == "not_timed"
    assert "a manual schedule" in answer.sentence


def on_event(make_schedule: MakeSchedule, **changes: object) -> Schedule:
    config = {"source": "internal", "event": "execution:failed"}
    return make_schedule(
        trigger_type="event_driven",
        trigger_config=config,
        schedule_type="",
        schedule_config={},
        **changes,
    )


def event(**data: object) -> None:
    owner_id = User.objects.get(username="owner").id
    with transaction.atomic():
        events.emit([NewEvent("execution:failed", "execution:x", data, owner_id=owner_id)])
    internal.hear()


@pytest.mark.django_db(transaction=True)
def test_a_start_by_an_event_is_told_with_its_execution(make_schedule: MakeSchedule) -> None:
    schedule = on_event(make_schedule)
    event()
    execution = Execution.objects.get()

    latest = explain(schedule)
    then = explain(schedule, latest.at.replace(microsecond=0))

    assert (latest.code, latest.execution) == (FireReason.DISPATCHED, execution)
    assert (then.code, then.execution) == (FireReason.DISPATCHED, execution)
    assert latest.sentence.startswith("The event of ")
    assert f"became execution #{execution.number}" in latest.sentence


@pytest.mark.django_db(transaction=True)
def test_a_skipped_event_is_told_and_what_was_before_it_too(make_schedule: MakeSchedule) -> None:
    schedule = on_event(make_schedule)
    nothing = explain(schedule)
    event()
    event()

    latest = explain(schedule)
    later = explain(schedule, clock.now() + HOUR)

    assert (nothing.code, nothing.execution) == ("not_timed", None)
    assert latest.code == FireReason.SKIPPED_OVERLAP
    assert latest.sentence.startswith("The event of ")
    assert f"#{Execution.objects.get().number} had not ended" in latest.sentence
    assert later.code == "not_timed"
    assert latest.sentence in later.sentence


@pytest.mark.django_db(transaction=True)
def test_an_event_that_lacks_what_a_key_needs_is_told_with_what_is_missing(
    make_schedule: MakeSchedule,
) -> None:
    schedule = on_event(make_schedule, unique_key="of:{event.data.tenant}")
    nothing = explain(schedule)
    event()

    latest = explain(schedule)
    then = explain(schedule, latest.at.replace(microsecond=0))
    later = explain(schedule, clock.now() + HOUR)

    assert nothing.code == "not_timed"
    assert (latest.code, then.code, later.code) == ("not_started", "not_started", "not_timed")
    assert (latest.fire, latest.execution) == (None, None)
    assert latest.sentence.startswith("An event could not start it at ")
    assert "{event.data.tenant} has no value" in latest.sentence
    assert then.sentence == latest.sentence
    assert latest.sentence in later.sentence


@pytest.mark.django_db(transaction=True)
def test_what_was_started_after_one_that_lacked_a_value_is_the_latest(
    make_schedule: MakeSchedule,
) -> None:
    schedule = on_event(make_schedule, limit_key="of:{event.data.tenant}")
    event()
    event(tenant="acme")

    assert explain(schedule).execution == Execution.objects.get()


@pytest.mark.django_db(transaction=True)
def test_an_outcome_that_lacks_what_a_key_needs_is_told_too(
    make_schedule: MakeSchedule, owner: User
) -> None:
    first = make_schedule("first")
    schedule = make_schedule(
        trigger_type="dependent",
        trigger_config={"upstreams": [first.name], "on": "end"},
        schedule_type="",
        schedule_config={},
        unique_key="of:{upstream.first.result.tenant}",
    )
    execution = ExecutionFactory.create(owner=owner, schedule_id=first.id)
    lifecycle.cancel(execution)
    consequences.draw()

    latest = explain(schedule)

    assert latest.code == "not_started"
    assert latest.sentence.startswith("The end of an upstream could not start it at ")


def test_a_dependent_is_told_by_its_last_record(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(
        trigger_type="dependent",
        trigger_config={"upstreams": [make_schedule("first").name]},
        schedule_type="",
        schedule_config={},
    )
    fire = record(schedule, FireReason.SKIPPED_PAUSED, clock.now() - HOUR)
    FireRecord.objects.filter(id=fire.id).update(cause="dependency:x")

    latest, other = explain(schedule), explain(schedule, clock.now() + HOUR)

    assert latest.code == FireReason.SKIPPED_PAUSED
    assert latest.sentence.startswith("The end of its upstream at ")
    assert other.code == "not_timed"
    assert latest.sentence in other.sentence


def test_what_is_due_waits_for_a_stopped_system(make_schedule: MakeSchedule, owner: User) -> None:
    schedule = make_schedule(late_by=MINUTE)
    is_older(schedule)
    system.stop(Actor.of(owner))

    answer = explain(schedule)

    assert answer.code == "stopped"
    assert "stopped by owner" in answer.sentence


@pytest.mark.parametrize(
    ("last_look", "code"), [(timedelta(minutes=5), "no_beat"), (timedelta(), "being_dispatched")]
)
def test_what_is_due_waits_for_a_beat(
    make_schedule: MakeSchedule, last_look: timedelta, code: str
) -> None:
    schedule = make_schedule(late_by=MINUTE)
    is_older(schedule)
    SystemState.objects.update(scheduler_last_tick_at=clock.now() - last_look)

    assert explain(schedule).code == code


def test_where_no_row_tells_why_the_answer_says_so(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(**NINE)
    is_older(schedule)
    nine = (clock.now() - timedelta(days=3)).replace(hour=9, minute=0, second=0, microsecond=0)

    answer = explain(schedule, nine)

    assert answer.code == "unrecorded"
    assert "no row tells why" in answer.sentence


def test_what_is_older_than_the_records_are_kept_is_told_so(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(**NINE)
    is_older(schedule, timedelta(days=200))
    nine = (clock.now() - timedelta(days=120)).replace(hour=9, minute=0, second=0, microsecond=0)

    assert explain(schedule, nine).code == "not_kept"


def test_a_fire_that_is_due_later_says_when_and_what_will_keep_it(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(**NINE)
    Schedule.objects.filter(id=schedule.id).update(execution_window={"hours": ["10:00-11:00"]})
    schedule.refresh_from_db()

    answer = explain(schedule)

    assert answer.code == "not_due"
    assert "skipped_window" in answer.sentence
    assert "open 10:00-11:00 on every day in UTC" in answer.sentence


def test_a_closed_calendar_is_named_with_its_holiday(
    make_schedule: MakeSchedule, owner: User
) -> None:
    at = (clock.now() - timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0)
    calendar = BusinessCalendar.objects.create(
        id=ids.new(at),
        owner=owner,
        name="bank",
        weekend=[],
        holidays=[{"date": at.date().isoformat(), "name": "Founders' Day"}],
    )
    schedule = make_schedule(**NINE)
    Schedule.objects.filter(id=schedule.id).update(calendar=calendar)
    is_older(schedule)
    record(schedule, FireReason.SKIPPED_CALENDAR, at)

    answer = explain(schedule, at)

    assert answer.code == FireReason.SKIPPED_CALENDAR
    assert "bank: Founders' Day on" in answer.sentence


@pytest.mark.parametrize("reason", FireReason)
def test_every_reason_has_a_sentence(make_schedule: MakeSchedule, reason: FireReason) -> None:
    schedule = make_schedule()
    record(schedule, reason, clock.now())

    answer = explain(schedule)

    assert answer.code == reason
    assert answer.sentence.startswith("The fire of ")
    assert answer.sentence.endswith(".")


@pytest.mark.django_db(transaction=True)
def test_an_edit_leaves_what_the_schedule_said_before_it(
    make_schedule: MakeSchedule, owner: User
) -> None:
    schedule = make_schedule()
    before, grid = clock.now(), schedule.anchor_at
    changed = words(schedule, schedule_config={"interval_ms": 7_000}, timezone="Europe/Berlin")
    schedules.update(schedule.id, changed, actor=Actor.of(owner))
    schedules.disable(schedule.id, actor=Actor.of(owner))
    schedule.refresh_from_db()

    then, now = past.as_of(schedule, before), past.as_of(schedule, clock.now())

    assert then.words["schedule_config"] == {"interval_ms": 60_000}
    assert (then.timezone, then.enabled, then.anchor_at) == ("UTC", True, grid)
    assert next(then.fires(before, until=before + HOUR)) == grid + MINUTE
    assert now.words["schedule_config"] == {"interval_ms": 7_000}
    assert (now.timezone, now.enabled) == ("Europe/Berlin", False)


@pytest.mark.django_db(transaction=True)
def test_the_grid_of_an_interval_with_a_start_is_known_after_an_edit(
    make_schedule: MakeSchedule, owner: User
) -> None:
    start_at = clock.now().replace(microsecond=0) + HOUR
    schedule = make_schedule(start_at=start_at)
    before = clock.now()
    changed = words(schedule, schedule_config={"interval_ms": 7_000}, start_at=None)
    schedules.update(schedule.id, changed, actor=Actor.of(owner))
    schedule.refresh_from_db()

    then = past.as_of(schedule, before)

    assert then.start_at == start_at
    assert next(then.fires(start_at, until=start_at + HOUR)) == start_at


def test_the_answer_costs_a_bounded_number_of_statements(
    make_schedule: MakeSchedule, django_assert_max_num_queries: Callable[..., object]
) -> None:
    schedule = make_schedule(late_by=10 * HOUR)
    dispatcher.dispatch_due()
    at = clock.now() - 5 * HOUR

    with django_assert_max_num_queries(8):  # type: ignore[attr-defined]
        explain(schedule, at)
