"""Backfills: every fire of the range runs once, so many at a time, whatever dies in between."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now

from executions_app import clock, lifecycle
from executions_app.audit import Actor
from executions_app.models import AuditEntry, Execution
from executions_app.states import ExecutionStatus, IllegalMove, Trigger
from scheduler_app import backfill_rows, backfills, dispatcher, schedules, system
from scheduler_app.backfill_plan import InvalidBackfill
from scheduler_app.models import Backfill, FireRecord, Schedule
from scheduler_app.models_sources import BackfillStatus
from tests.terminal import run
from tests.verbs import complete

MakeSchedule = Callable[..., Schedule]
HOURLY = {"schedule_type": "cron", "schedule_config": {"cron": "0 * * * *"}}
HOUR = timedelta(hours=1)


@pytest.fixture
def hourly(make_schedule: MakeSchedule) -> Schedule:
    return make_schedule(**HOURLY)


def whole_hour(hours_ago: int) -> datetime:
    return clock.now().replace(minute=0, second=0, microsecond=0) - hours_ago * HOUR


def begin(schedule: Schedule, *, hours: int, max_concurrent: int = 1) -> Backfill:
    """A backfill of the last `hours` whole hours."""
    return backfills.create(
        schedule,
        first=whole_hour(hours),
        until=whole_hour(1),
        max_concurrent=max_concurrent,
        actor=Actor("ada"),
    )


def run_what_is_due() -> list[datetime]:
    """As workers would; answers the planned instants of what ran."""
    dispatcher.release_due()
    queued = Execution.objects.filter(status=ExecutionStatus.QUEUED).order_by("due_at")
    ran = []
    for row in list(queued):
        (claimed,) = lifecycle.claim([row.id], worker_id="worker-host:1:1")
        complete(claimed, output=None)
        ran.append(row.nominal_at)
    return [one for one in ran if one is not None]


def run_to_the_end(backfill: Backfill) -> list[datetime]:
    ran: list[datetime] = []
    for _ in range(100):
        backfills.advance()
        ran += run_what_is_due()
        backfill.refresh_from_db()
        if backfill.status != BackfillStatus.RUNNING:
            return ran
    raise AssertionError("the backfill does not end")


def test_every_fire_of_the_range_runs_once_and_in_order(hourly: Schedule) -> None:
    backfill = begin(hourly, hours=6)

    ran = run_to_the_end(backfill)

    expected = [whole_hour(hours) for hours in range(6, 0, -1)]
    fires = FireRecord.objects.filter(schedule_id=hourly.id).order_by("nominal_at")
    assert ran == expected
    assert [one.nominal_at for one in fires] == expected
    assert {one.cause for one in fires} == {f"backfill:{backfill.id}"}
    assert (backfill.status, backfill.made, backfill.total) == (BackfillStatus.COMPLETED, 6, 6)
    executions = Execution.objects.all()
    assert {one.trigger for one in executions} == {Trigger.BACKFILL}


def test_no_more_are_active_than_it_may_have(hourly: Schedule) -> None:
    begin(hourly, hours=10, max_concurrent=3)

    made = [backfills.advance(), backfills.advance()]

    assert made == [3, 0]
    run_what_is_due()
    assert backfills.advance() == 3


def test_nothing_is_made_while_the_system_is_stopped(hourly: Schedule, owner: User) -> None:
    begin(hourly, hours=3)
    system.stop(Actor.of(owner))

    assert backfills.advance() == 0
    assert not Execution.objects.exists()


def test_its_own_cadence_is_left_alone(hourly: Schedule) -> None:
    planned = hourly.next_run_at
    backfill = begin(hourly, hours=2)

    run_to_the_end(backfill)

    hourly.refresh_from_db()
    assert (hourly.next_run_at, hourly.fired_count) == (planned, 0)


def test_a_month_of_long_ago_has_room_for_its_fires(hourly: Schedule) -> None:
    first = whole_hour(24 * 400)
    backfill = backfills.create(
        hourly, first=first, until=first + HOUR, max_concurrent=2, actor=Actor("ada")
    )

    assert run_to_the_end(backfill) == [first, first + HOUR]


def test_the_grid_of_an_interval_reaches_back_beyond_its_anchor(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(schedule_config={"interval_ms": 600_000})
    anchor = schedule.anchor_at

    plan = backfills.plan(schedule, first=anchor - HOUR, until=anchor)

    assert plan.runs == 7
    assert plan.first_fires[0] == anchor - HOUR
    assert plan.last_fire == anchor


def test_what_its_window_keeps_out_is_not_made_up(hourly: Schedule) -> None:
    Schedule.objects.filter(id=hourly.id).update(execution_window={"hours": ["09:00-12:00"]})
    hourly.refresh_from_db()
    midnight = whole_hour(48).replace(hour=0)

    plan = backfills.plan(hourly, first=midnight, until=midnight + 23 * HOUR)
    backfill = backfills.create(
        hourly, first=midnight, until=midnight + 23 * HOUR, max_concurrent=9, actor=Actor("ada")
    )

    assert (plan.runs, plan.skipped) == (3, 21)
    assert [one.hour for one in run_to_the_end(backfill)] == [9, 10, 11]


def test_a_plan_touches_nothing_and_counts_what_has_run(hourly: Schedule) -> None:
    backfill = begin(hourly, hours=2)
    run_to_the_end(backfill)
    FireRecord.objects.update(cause="")

    plan = backfills.plan(hourly, first=whole_hour(4), until=whole_hour(1))

    assert (plan.runs, plan.recorded) == (4, 2)
    assert Backfill.objects.count() == 1


@pytest.mark.parametrize(
    ("first", "until", "most", "field"),
    [
        (5, -5, 1, "until"),
        (1, 5, 1, "until"),
        (5, 1, 0, "max_concurrent"),
        (5, 1, 101, "max_concurrent"),
    ],
)
def test_what_makes_no_backfill_is_named(
    hourly: Schedule, first: int, until: int, most: int, field: str
) -> None:
    with pytest.raises(InvalidBackfill) as refused:
        backfills.create(
            hourly,
            first=whole_hour(first),
            until=whole_hour(until),
            max_concurrent=most,
            actor=Actor("ada"),
        )

    assert refused.value.field == field
    assert not Backfill.objects.exists()


def test_too_many_fires_are_refused_before_they_are_computed(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(schedule_config={"interval_ms": 1_000})

    with pytest.raises(InvalidBackfill, match="at most 100000"):
        backfills.plan(schedule, first=whole_hour(24 * 30), until=whole_hour(1))


def test_a_schedule_that_time_never_starts_has_missed_nothing(
    make_schedule: MakeSchedule,
) -> None:
    manual = make_schedule(trigger_type="manual", schedule_type="", schedule_config={})

    with pytest.raises(InvalidBackfill, match="never starts"):
        backfills.plan(manual, first=whole_hour(2), until=whole_hour(1))


def test_an_abort_cancels_what_has_not_started_and_makes_no_more(hourly: Schedule) -> None:
    backfill = begin(hourly, hours=9, max_concurrent=3)
    backfills.advance()
    dispatcher.release_due()
    running = Execution.objects.order_by("id")[0]
    lifecycle.claim([running.id], worker_id="worker-host:1:1")

    backfills.abort(backfill.id, actor=Actor("ada"))

    assert backfills.advance() == 0
    states = Execution.objects.order_by("id").values_list("status", flat=True)
    assert list(states) == ["running", "cancelled", "cancelled"]
    with pytest.raises(IllegalMove):
        backfills.resume(backfill.id, actor=Actor("ada"))


def test_a_paused_backfill_goes_on_behind_its_cursor(hourly: Schedule) -> None:
    backfill = begin(hourly, hours=4)
    backfills.advance()
    ran = run_what_is_due()
    backfills.pause(backfill.id, actor=Actor("ada"))

    assert backfills.advance() == 0
    backfills.resume(backfill.id, actor=Actor("ada"))

    assert ran + run_to_the_end(backfill) == [whole_hour(hours) for hours in range(4, 0, -1)]


def test_the_deletion_of_its_schedule_ends_it(hourly: Schedule, owner: User) -> None:
    backfill = begin(hourly, hours=4)
    schedules.delete(hourly.id, actor=Actor.of(owner))

    backfills.advance()

    backfill.refresh_from_db()
    entry = AuditEntry.objects.filter(action="backfill.aborted").get()
    assert backfill.status == BackfillStatus.ABORTED
    assert "deleted" in entry.note


def test_a_crash_between_the_rows_and_the_cursor_leaves_neither(
    hourly: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    backfill = begin(hourly, hours=3)
    write = backfill_rows.write

    def die(*args: object, **kwargs: object) -> int:
        write(*args, **kwargs)  # type: ignore[arg-type]
        raise SystemError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(backfill_rows, "write", die)
        with pytest.raises(SystemError):
            backfills.advance()

    assert not FireRecord.objects.exists()
    assert len(run_to_the_end(backfill)) == 3


def test_where_none_runs_it_costs_one_statement(
    hourly: Schedule, django_assert_num_queries: Callable[..., object]
) -> None:
    run_to_the_end(begin(hourly, hours=1))

    with django_assert_num_queries(1):  # type: ignore[attr-defined]
        backfills.advance()


@pytest.mark.django_db(transaction=True)
def test_several_beats_at_once_make_each_execution_once(hourly: Schedule) -> None:
    backfill = begin(hourly, hours=40, max_concurrent=5)

    def beat(_: int) -> int:
        try:
            return sum(backfills.advance() for _ in range(3))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as beats:
        made = sum(beats.map(beat, range(4)))

    assert made == Execution.objects.count() == 5
    assert len(run_to_the_end(backfill)) == 40
    nominals = Execution.objects.values_list("nominal_at", flat=True)
    assert len(set(nominals)) == len(nominals) == 40


def test_a_due_schedule_fires_beside_its_backfill(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5), overlap_policy="skip")
    Schedule.objects.filter(id=schedule.id).update(updated_at=Now())
    backfills.create(
        schedule, first=clock.now() - HOUR, until=clock.now(), max_concurrent=2, actor=Actor("ada")
    )
    backfills.advance()

    dispatcher.dispatch_due()

    (fire,) = FireRecord.objects.filter(schedule_id=schedule.id, cause="")
    assert fire.reason == "dispatched"


def test_a_key_that_no_fire_by_time_has_a_value_for_holds_up_no_backfill(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(
        **HOURLY, limit_key="tenant:{tenant}", unique_key="order:{order}", run_ttl_ms=60_000
    )

    ran = run_to_the_end(begin(schedule, hours=2))

    born_with = Execution.objects.values_list("limit_key", "unique_key", "expires_at")
    assert len(ran) == 2
    assert set(born_with) == {("tenant:?", "", None)}


def test_backfills_are_looked_at_and_moved_on_the_terminal(hourly: Schedule) -> None:
    User.objects.create_superuser("root")
    backfill = begin(hourly, hours=3)

    listed = run("backfills", "list", "--schedule", hourly.name, "--json").document
    moved = [
        run("backfills", verb, str(backfill.id), "--yes", "--json").document["status"]
        for verb in ("pause", "resume", "abort")
    ]
    shown = run("backfills", "show", str(backfill.id)).stdout
    refused = run("backfills", "resume", str(backfill.id))
    unknown = run("backfills", "show", "nonsense")

    assert [one["id"] for one in listed] == [str(backfill.id)]
    assert moved == ["paused", "running", "aborted"]
    assert "0 of 3, 0 have not ended" in shown
    assert "is aborted; only one that is paused can be resumed" in refused.stderr
    assert refused.exit_code != 0
    assert "There is no backfill 'nonsense'" in unknown.stderr
