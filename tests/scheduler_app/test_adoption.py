"""What becomes of advice: adopted within limits, proposed, recorded, refused, superseded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from agents_app.models import Cycle
from executions_app import audit, clock
from executions_app.audit import SYSTEM, Actor
from executions_app.models import AuditEntry, Event
from executions_app.states import IllegalMove
from scheduler_app import (
    adoption,
    adoption_advice,
    calendars,
    dispatcher,
    edits,
    next_run_source,
    outlook,
    schedules,
)
from scheduler_app.adoption import NotAdopted, NothingToRevert
from scheduler_app.beat import Metronome
from scheduler_app.clamping import as_text
from scheduler_app.definition import InvalidDefinition
from scheduler_app.foresight import why
from scheduler_app.limiting import limits, limits_in_force, rates
from scheduler_app.models import Schedule, ScheduleDecision
from tests.scheduler_app.advising import HOUR, MINUTE, advise, decided, made_of
from tests.scheduler_app.conftest import DAYS

MakeSchedule = Callable[..., Schedule]
pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


@pytest.fixture
def hourly(make_schedule: MakeSchedule) -> Schedule:
    """An AI's schedule whose rule runs it in an hour."""
    return agents(make_schedule)


def agents(make_schedule: MakeSchedule, **changes: Any) -> Schedule:
    words = {"schedule_config": {"interval_ms": 3_600_000}, **changes}
    made = make_schedule(**words)
    rows = Schedule.objects.filter(id=made.id)
    rows.update(task_type="agent", task_config={"goal": "keep warm"})
    return rows.get()


def again(schedule: Schedule) -> Schedule:
    return Schedule.objects.get(id=schedule.id)


def events_of(schedule: Schedule) -> list[str]:
    rows = Event.objects.filter(schedule_id=schedule.id, type__in=["schedule:updated", DECIDED])
    return list(rows.order_by("xid", "id").values_list("type", flat=True))


DECIDED = "schedule:decided"


def test_advice_to_run_in_five_minutes_is_obeyed(hourly: Schedule) -> None:
    wanted = clock.now() + 5 * MINUTE
    cycle = advise(hourly, next_run_at=wanted)

    decision = decided(cycle)

    assert decision.status == "adopted"
    assert again(hourly).next_run_at == wanted
    assert decision.clamped == {"next_run_at": as_text(wanted)}
    assert decision.notes == []
    assert decision.before is not None
    assert decision.before["next_run_at"] == as_text(hourly.next_run_at or wanted)
    assert (decision.source, decision.reason, decision.confidence) == ("model", "it is quiet", 0.8)


@pytest.mark.parametrize(
    ("wanted_in", "limit", "expected_in"),
    [(2 * SECOND, "min_interval", MINUTE), (9 * 24 * HOUR, "max_interval", 24 * HOUR)],
)
def test_advice_out_of_bounds_is_clamped_and_noted(
    hourly: Schedule, wanted_in: timedelta, limit: str, expected_in: timedelta
) -> None:
    cycle = advise(hourly, next_run_at=clock.now() + wanted_in)

    decision = decided(cycle)

    assert again(hourly).next_run_at == cycle.started_at + expected_in
    assert [one["limit"] for one in decision.notes] == [limit]


def a_rate(key: str, *, bucket: str = "", used_up: bool) -> None:
    """Sixty in an hour over `key`, of which four too many or none have been drawn."""
    words = {"key": key, "rate_count": 60, "rate_period_ms": 3_600_000}
    limits.put(limits.parse(words), actor=SYSTEM)
    limits_in_force.forget()
    rates.debit({bucket or key: -3.0 if used_up else 60.0})


@pytest.mark.parametrize(
    ("key", "bucket"),
    [
        ("system", ""),
        ("queue:normal", ""),
        ("task:agent", ""),
        ("agent:her", ""),
        ("key:warm-*", "key:warm-her"),
    ],
)
def test_advice_to_run_before_a_rate_has_a_start_to_spare_is_clamped(
    hourly: Schedule, key: str, bucket: str
) -> None:
    config = {"goal": "keep warm", "agent": "her"}
    Schedule.objects.filter(id=hourly.id).update(limit_key="warm-{agent}", task_config=config)
    a_rate(key, bucket=bucket, used_up=True)
    cycle = advise(again(hourly), next_run_at=clock.now() + 2 * MINUTE)

    decision = decided(cycle)

    moved = again(hourly).next_run_at
    assert moved is not None
    assert abs(moved - (cycle.started_at + 4 * MINUTE)) < 30 * SECOND
    assert [one["limit"] for one in decision.notes] == ["quota"]


@pytest.mark.parametrize(("key", "used_up"), [("queue:normal", False), ("queue:low", True)])
def test_a_rate_that_is_open_or_another_s_leaves_advice_as_it_is(
    hourly: Schedule, key: str, used_up: bool
) -> None:
    a_rate(key, used_up=used_up)
    wanted = clock.now() + 2 * MINUTE

    decision = decided(advise(hourly, next_run_at=wanted))

    assert again(hourly).next_run_at == wanted
    assert decision.notes == []


def test_an_interval_is_counted_once_from_the_last_planned_run(hourly: Schedule) -> None:
    nominal = clock.now() - 5 * SECOND
    Schedule.objects.filter(id=hourly.id).update(last_run_at=nominal)
    cycle = advise(again(hourly), nominal_at=nominal, interval_ms=600_000)

    decided(cycle)

    moved = again(hourly)
    assert moved.next_run_at == nominal + 10 * MINUTE
    assert moved.schedule_config == {"interval_ms": 3_600_000}


def test_after_an_adopted_run_the_rule_goes_on_as_it_was(hourly: Schedule) -> None:
    decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))
    rows = Schedule.objects.filter(id=hourly.id)
    rows.update(anchor_at=Now() - 6 * MINUTE, next_run_at=Now() - SECOND)

    dispatcher.dispatch_due()

    moved = rows.get()
    assert moved.next_run_at == moved.anchor_at + HOUR


def test_an_interval_of_a_run_that_began_late_is_counted_from_when_it_began(
    hourly: Schedule,
) -> None:
    cycle = advise(hourly, nominal_at=clock.now() - 59 * MINUTE, interval_ms=1_800_000)

    decision = decided(cycle)

    assert again(hourly).next_run_at == cycle.started_at + 30 * MINUTE
    assert (decision.status, decision.notes) == ("adopted", [])


def test_a_run_that_began_late_has_its_least_distance_from_then(hourly: Schedule) -> None:
    nominal = clock.now() - 30 * MINUTE
    cycle = advise(hourly, nominal_at=nominal, interval_ms=1_000)

    decided(cycle)

    assert again(hourly).next_run_at == cycle.started_at + MINUTE


def test_a_pause_is_an_edit_with_an_end_and_the_rule_goes_on_after_it(hourly: Schedule) -> None:
    until = clock.now() + 150 * MINUTE
    cycle = advise(hourly, pause_until=until)

    decision = decided(cycle)

    paused = again(hourly)
    assert (decision.status, paused.enabled) == ("adopted", True)
    assert paused.paused_until == until
    assert paused.pause_reason == "paused by the AI: it is quiet"
    assert paused.next_run_at == hourly.anchor_at + 3 * HOUR
    assert paused.version == hourly.version + 1
    entry = AuditEntry.objects.get(action="schedule.updated", object_id=str(hourly.id))
    assert entry.actor == "AI"


@pytest.mark.parametrize("autonomy", ["off", "shadow", "propose", "auto"])
def test_a_spent_budget_pauses_whatever_an_ai_may_do(hourly: Schedule, autonomy: str) -> None:
    until = clock.now() + 3 * HOUR
    limits = (MINUTE, HOUR)  # of an AI: a person may pause for longer
    cycle = advise(hourly, autonomy=autonomy, source="budget", limits=limits, pause_until=until)
    Schedule.objects.filter(id=hourly.id).update(next_run_at=clock.now() + 2 * HOUR)

    decision = decided(cycle)

    paused = again(hourly)
    assert (decision.status, decision.autonomy, paused.enabled) == ("adopted", autonomy, True)
    assert paused.paused_until == until
    assert paused.pause_reason == "paused by the budget: it is quiet"
    entries = AuditEntry.objects.filter(object_id=str(hourly.id), action="schedule.updated")
    assert [one.actor for one in entries] == ["budget"]


def test_an_edit_after_the_budget_was_spent_is_stronger_than_its_pause(hourly: Schedule) -> None:
    cycle = advise(hourly, autonomy="off", source="budget", pause_until=clock.now() + 2 * HOUR)
    Schedule.objects.filter(id=hourly.id).update(version=hourly.version + 1)

    assert decided(cycle).status == "superseded"
    assert again(hourly).paused_until is None


def test_a_pause_that_would_last_too_long_is_cut(hourly: Schedule) -> None:
    decision = decided(advise(hourly, pause_until=clock.now() + 300 * HOUR))

    assert [one["limit"] for one in decision.notes] == ["max_interval"]
    assert (again(hourly).paused_until or clock.now()) - clock.now() <= 24 * HOUR


@pytest.mark.parametrize("autonomy", ["off", "shadow"])
def test_without_autonomy_it_is_recorded_and_the_rule_acts(hourly: Schedule, autonomy: str) -> None:
    wanted = clock.now() + 5 * MINUTE
    decision = decided(advise(hourly, autonomy=autonomy, next_run_at=wanted))

    assert (decision.status, decision.autonomy) == ("recorded", autonomy)
    assert decision.clamped == {"next_run_at": as_text(wanted)}
    assert again(hourly).next_run_at == hourly.next_run_at


def test_to_keep_the_rule_is_recorded_and_asks_nobody(hourly: Schedule) -> None:
    decision = decided(advise(hourly, autonomy="propose"))

    assert (decision.kind, decision.status) == ("keep", "recorded")
    assert again(hourly).next_run_at == hourly.next_run_at


def test_a_proposal_waits_until_the_run_that_it_is_about(hourly: Schedule) -> None:
    decision = decided(advise(hourly, autonomy="propose", next_run_at=clock.now() + 5 * MINUTE))

    assert decision.status == "proposed"
    assert decision.expires_at == hourly.next_run_at
    assert again(hourly).next_run_at == hourly.next_run_at


def edited(schedule: Schedule) -> None:
    words = edits.current(schedule).model_copy(update={"name": "another name"})
    schedules.update(schedule.id, words, actor=SYSTEM)


def switched_off(schedule: Schedule) -> None:
    Schedule.objects.filter(id=schedule.id).update(enabled=False)


def paused(schedule: Schedule) -> None:
    Schedule.objects.filter(id=schedule.id).update(paused_until=Now() + HOUR)


def moved_on(schedule: Schedule) -> None:
    Schedule.objects.filter(id=schedule.id).update(next_run_at=Now() + 2 * HOUR)


def deleted(schedule: Schedule) -> None:
    schedules.delete(schedule.id, actor=SYSTEM)


def fired_later(schedule: Schedule) -> None:
    Schedule.objects.filter(id=schedule.id).update(last_run_at=Now() + 10 * MINUTE)


SUPERSEDED = {
    "edited": (edited, "was edited"),
    "disabled": (switched_off, "is disabled"),
    "paused": (paused, "is paused until"),
    "moved": (moved_on, "the next run has moved"),
    "deleted": (deleted, "was deleted"),
    "fired": (fired_later, "has fired later"),
}


@pytest.mark.parametrize("case", SUPERSEDED)
def test_what_the_ai_saw_must_still_be_so(hourly: Schedule, case: str) -> None:
    change, why = SUPERSEDED[case]
    cycle = advise(hourly, next_run_at=clock.now() + 5 * MINUTE)
    change(hourly)
    before = Schedule.objects.filter(id=hourly.id).values().first()

    decision = decided(cycle)

    assert decision.status == "superseded"
    assert why in decision.refusal
    assert Schedule.objects.filter(id=hourly.id).values().first() == before


def test_a_run_that_has_come_due_is_not_put_off(hourly: Schedule) -> None:
    Schedule.objects.filter(id=hourly.id).update(next_run_at=Now() - SECOND)
    cycle = advise(again(hourly), next_run_at=clock.now() + HOUR)

    decision = decided(cycle)

    assert (decision.status, "come due" in decision.refusal) == ("superseded", True)


def test_an_adoption_does_not_stand_in_the_way_of_the_next_one(hourly: Schedule) -> None:
    first = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))

    second = decided(advise(again(hourly), next_run_at=clock.now() + 7 * MINUTE))

    assert (first.status, second.status) == ("adopted", "adopted")
    assert again(hourly).version == hourly.version


def test_of_two_cycles_that_saw_the_same_the_first_is_adopted(hourly: Schedule) -> None:
    both = [advise(hourly, next_run_at=clock.now() + late * MINUTE) for late in (5, 7)]
    first, second = sorted(both, key=lambda cycle: cycle.id)

    made = adoption.adopt_advice(clock.now())

    assert made == 2
    assert (made_of(first).status, made_of(second).status) == ("adopted", "superseded")


def refused_because(make_schedule: MakeSchedule, advice: dict[str, Any], **words: Any) -> str:
    schedule = agents(make_schedule, **words)
    decision = decided(advise(schedule, **advice))
    assert decision.status == "refused"
    assert again(schedule).next_run_at == schedule.next_run_at
    return decision.refusal


def test_what_no_limit_admits_is_refused_with_the_reason(make_schedule: MakeSchedule) -> None:
    now = clock.now()
    soon = {"next_run_at": now + 5 * MINUTE}
    closes = {"end_at": now + 2 * HOUR}

    assert "after the end" in refused_because(
        make_schedule, {"next_run_at": now + 3 * HOUR}, name="ends", **closes
    )
    assert "would be over" in refused_because(
        make_schedule, {"pause_until": now - MINUTE}, name="past"
    )
    assert "time does not start" in refused_because(
        make_schedule,
        soon,
        name="by hand",
        trigger_type="manual",
        schedule_type="",
        schedule_config={},
    )
    assert "never" in refused_because(
        make_schedule, {"pause_until": now + 3 * HOUR}, name="never again", **closes
    )


def test_a_window_has_the_last_word(make_schedule: MakeSchedule) -> None:
    now = clock.now()
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    window = {"weekdays": [DAYS[tomorrow.weekday()]]}
    schedule = agents(make_schedule, execution_window=window)

    decision = decided(advise(schedule, next_run_at=now + 2 * MINUTE, limits=(SECOND, HOUR)))

    assert again(schedule).next_run_at == tomorrow
    assert [one["limit"] for one in decision.notes][-1] == "window"


def test_a_backfill_moves_no_next_run(hourly: Schedule) -> None:
    decision = decided(advise(hourly, trigger="backfill", next_run_at=clock.now() + 5 * MINUTE))

    assert (decision.status, decision.refusal) == ("refused", "a backfill moves no next run")


@pytest.mark.parametrize(
    "advice",
    [
        {"source": "model"},
        {"source": "model", "autonomy": "auto", "advice": {"action": "explode"}},
        {"source": "model", "autonomy": "auto", "advice": {"action": "next_run_at"}},
        {"source": "model", "autonomy": "auto", "advice": {"action": "interval", "interval_ms": 0}},
        {
            "source": "model",
            "autonomy": "auto",
            "advice": {"action": "next_run_at", "next_run_at": "2026-12-01T09:00:00"},
        },
        ["token=abcdefgh12345678"],
    ],
)
def test_advice_that_makes_no_sense_is_refused_once_and_stops_no_other(
    hourly: Schedule, advice: Any
) -> None:
    broken = advise(hourly, next_run_at=clock.now() + 5 * MINUTE)
    Cycle.objects.filter(id=broken.id).update(advice=advice)
    good = advise(hourly, next_run_at=clock.now() + 5 * MINUTE)

    made = [adoption.adopt_advice(clock.now()) for _ in range(2)]

    assert made == [2, 0]
    assert made_of(broken).status == "refused"
    assert "cannot be read" in made_of(broken).refusal
    assert "abcdefgh12345678" not in str(made_of(broken).proposed)
    assert made_of(good).status == "adopted"


def test_advice_that_cannot_be_carried_out_is_refused_and_stops_no_other(
    hourly: Schedule, make_schedule: MakeSchedule
) -> None:
    ruined = agents(make_schedule, name="ruined")
    Schedule.objects.filter(id=ruined.id).update(execution_window={"hours": ["soon"]})
    broken = advise(ruined, next_run_at=clock.now() + 5 * MINUTE)
    good = advise(hourly, next_run_at=clock.now() + 5 * MINUTE)

    adoption.adopt_advice(clock.now())

    assert made_of(broken).status == "refused"
    assert "could not be carried out" in made_of(broken).refusal
    assert made_of(good).status == "adopted"


def test_a_decision_is_told_and_a_change_has_its_entry(hourly: Schedule) -> None:
    before = events_of(hourly)

    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))

    assert sorted(events_of(hourly)[len(before) :]) == [DECIDED, "schedule:updated"]
    entry = AuditEntry.objects.get(action="schedule.retimed")
    assert (entry.actor, entry.object_id) == ("AI", str(hourly.id))
    assert entry.after == {**decision.clamped, "decision": str(decision.id)}


def test_a_later_proposal_takes_the_place_of_an_open_one(hourly: Schedule) -> None:
    older = decided(advise(hourly, autonomy="propose", next_run_at=clock.now() + 5 * MINUTE))
    newer = decided(advise(hourly, autonomy="propose", next_run_at=clock.now() + 9 * MINUTE))

    older.refresh_from_db()

    assert (older.status, newer.status) == ("superseded", "proposed")
    assert "later decision" in older.refusal


# --- people ---------------------------------------------------------------------------


def proposal(schedule: Schedule, **advice: Any) -> ScheduleDecision:
    words = advice or {"next_run_at": clock.now() + 5 * MINUTE}
    return decided(advise(schedule, autonomy="propose", **words))


def test_a_person_approves(hourly: Schedule, owner: User) -> None:
    wanted = clock.now() + 5 * MINUTE
    decision = proposal(hourly, next_run_at=wanted)

    adoption.approve(decision, actor=Actor.of(owner))

    decision.refresh_from_db()
    assert (decision.status, decision.decided_by) == ("adopted", owner)
    assert again(hourly).next_run_at == wanted
    assert decision.before is not None
    assert AuditEntry.objects.filter(action="decision.adopted", actor_id=owner.pk).exists()


def test_a_person_approves_a_pause(hourly: Schedule) -> None:
    until = clock.now() + 2 * HOUR
    adoption.approve(proposal(hourly, pause_until=until), actor=SYSTEM)

    assert again(hourly).paused_until == until


def test_a_person_rejects(hourly: Schedule, owner: User) -> None:
    decision = proposal(hourly)

    adoption.reject(decision, actor=Actor.of(owner), reason="not at night")

    decision.refresh_from_db()
    assert (decision.status, decision.refusal) == ("refused", "not at night")
    assert decision.decided_by == owner
    assert again(hourly).next_run_at == hourly.next_run_at
    with pytest.raises(IllegalMove):
        adoption.approve(decision, actor=SYSTEM)


def test_nobody_approves_after_the_end_of_a_proposal(hourly: Schedule) -> None:
    decision = proposal(hourly)
    ScheduleDecision.objects.filter(id=decision.id).update(expires_at=Now() - SECOND)

    with pytest.raises(NotAdopted, match="expired at"):
        adoption.approve(decision, actor=SYSTEM)
    ended = adoption.expire(clock.now())

    decision.refresh_from_db()
    assert (ended, decision.status) == (1, "expired")
    assert again(hourly).next_run_at == hourly.next_run_at
    with pytest.raises(IllegalMove, match="expired"):
        adoption.approve(decision, actor=SYSTEM)


def test_a_proposal_ends_by_itself_and_says_so(hourly: Schedule) -> None:
    decision = proposal(hourly)
    assert adoption.expire(clock.now()) == 0

    assert adoption.expire(decision.expires_at) == 1

    decision.refresh_from_db()
    assert (decision.status, decision.refusal) == ("expired", "nobody answered in time")
    entry = AuditEntry.objects.get(action="decision.expired")
    assert (entry.actor, entry.object_id) == ("system", str(decision.id))


@pytest.mark.parametrize("case", SUPERSEDED)
def test_an_approval_that_comes_too_late_supersedes(hourly: Schedule, case: str) -> None:
    change, why = SUPERSEDED[case]
    decision = proposal(hourly)
    change(hourly)

    with pytest.raises(NotAdopted, match=why):
        adoption.approve(decision, actor=SYSTEM)

    decision.refresh_from_db()
    assert (decision.status, why in decision.refusal) == ("superseded", True)


def test_what_is_adopted_is_what_was_shown(make_schedule: MakeSchedule) -> None:
    schedule = agents(make_schedule)
    decision = proposal(schedule)
    calendar = calendars.parse(
        {
            "name": "office",
            "weekend": [],
            "blackouts": [
                {"from": clock.now().isoformat(), "to": (clock.now() + HOUR).isoformat()}
            ],
        }
    )
    closed = calendars.create(calendar, owner_id=schedule.owner_id, actor=SYSTEM)
    Schedule.objects.filter(id=schedule.id).update(calendar=closed)  # an edit of it is no edit here

    with pytest.raises(NotAdopted, match="a limit has changed since"):
        adoption.approve(decision, actor=SYSTEM)

    assert again(schedule).next_run_at == schedule.next_run_at


def test_a_long_pause_can_be_approved_later_on(make_schedule: MakeSchedule) -> None:
    schedule = agents(make_schedule)
    long = timedelta(days=90)
    advice = advise(
        schedule, autonomy="propose", limits=(MINUTE, long), pause_until=clock.now() + long
    )
    decision = decided(advice)
    earlier = as_text(datetime.fromisoformat(decision.clamped["pause_until"]) - MINUTE)
    ScheduleDecision.objects.filter(id=decision.id).update(clamped={"pause_until": earlier})

    adoption.approve(decision, actor=SYSTEM)

    assert as_text(again(schedule).paused_until or clock.now()) == earlier


def test_a_pause_after_which_nothing_runs_is_not_approved(make_schedule: MakeSchedule) -> None:
    schedule = agents(make_schedule, end_at=clock.now() + 2 * HOUR)
    decision = proposal(schedule, pause_until=clock.now() + 3 * HOUR)

    with pytest.raises(InvalidDefinition, match="never"):
        adoption.approve(decision, actor=SYSTEM)

    decision.refresh_from_db()
    assert (decision.status, again(schedule).paused_until) == ("proposed", None)


def test_a_revert_puts_the_next_run_back_where_it_was(hourly: Schedule, owner: User) -> None:
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))

    adoption.revert(decision, actor=Actor.of(owner))

    decision.refresh_from_db()
    assert (decision.status, decision.decided_by) == ("reverted", owner)
    assert again(hourly).next_run_at == hourly.next_run_at
    with pytest.raises(IllegalMove):
        adoption.revert(decision, actor=SYSTEM)


def test_where_it_was_has_passed_the_rule_says_when(hourly: Schedule) -> None:
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))
    past = {**(decision.before or {}), "next_run_at": as_text(clock.now() - MINUTE)}
    ScheduleDecision.objects.filter(id=decision.id).update(before=past)
    Schedule.objects.filter(id=hourly.id).update(anchor_at=hourly.anchor_at - 10 * MINUTE)

    adoption.revert(decision, actor=SYSTEM)

    assert again(hourly).next_run_at == hourly.anchor_at + 50 * MINUTE


def test_a_revert_ends_a_pause(hourly: Schedule) -> None:
    decision = decided(advise(hourly, pause_until=clock.now() + 2 * HOUR))

    adoption.revert(decision, actor=SYSTEM)

    resumed = again(hourly)
    assert (resumed.paused_until, resumed.pause_reason) == (None, "")
    assert resumed.next_run_at == hourly.next_run_at


def test_what_time_does_not_start_can_be_paused_and_resumed(make_schedule: MakeSchedule) -> None:
    words = {"trigger_type": "manual", "schedule_type": "", "schedule_config": {}}
    by_hand = agents(make_schedule, **words)
    decision = decided(advise(by_hand, trigger="manual", pause_until=clock.now() + 2 * HOUR))
    paused_until = again(by_hand).paused_until

    adoption.revert(decision, actor=SYSTEM)

    assert paused_until is not None
    assert (again(by_hand).paused_until, again(by_hand).next_run_at) == (None, None)


@pytest.mark.parametrize("case", ["disabled", "moved", "deleted"])
def test_what_is_over_cannot_be_reverted(hourly: Schedule, case: str) -> None:
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))
    SUPERSEDED[case][0](hourly)

    with pytest.raises(NothingToRevert):
        adoption.revert(decision, actor=SYSTEM)

    decision.refresh_from_db()
    assert decision.status == "adopted"


def test_an_edit_that_left_the_next_run_alone_leaves_the_revert(hourly: Schedule) -> None:
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))
    edited(again(hourly))

    adoption.revert(decision, actor=SYSTEM)

    assert again(hourly).next_run_at == hourly.next_run_at


# --- where a next run comes from, and the beat ---------------------------------------


def source_of(schedule: Schedule) -> dict[str, Any] | None:
    now = again(schedule)
    return next_run_source.document(now, next_run_source.decisions([now]))


def test_a_next_run_states_its_source(hourly: Schedule) -> None:
    by_rule = source_of(hourly)
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))
    by_decision = source_of(hourly)
    adoption.revert(decision, actor=SYSTEM)

    assert by_rule == source_of(hourly) == {"kind": "rule", "decision_id": None}
    assert by_decision == {"kind": "decision", "decision_id": str(decision.id)}


def test_the_source_of_a_run_after_a_pause_is_the_pause(hourly: Schedule) -> None:
    decision = decided(advise(hourly, pause_until=clock.now() + 2 * HOUR))

    assert source_of(hourly) == {"kind": "decision", "decision_id": str(decision.id)}


def test_what_was_only_recorded_is_no_source(hourly: Schedule) -> None:
    decision = decided(advise(hourly, autonomy="shadow", next_run_at=hourly.next_run_at))

    assert decision.clamped["next_run_at"] == as_text(hourly.next_run_at or clock.now())
    assert source_of(hourly) == {"kind": "rule", "decision_id": None}


def test_nobody_asks_for_the_source_of_what_no_ai_works_for(make_schedule: MakeSchedule) -> None:
    plain = make_schedule()

    with CaptureQueriesContext(connection) as captured:
        found = next_run_source.decisions([plain])

    assert (found, len(captured)) == ({}, 0)


def test_a_beat_takes_advice_once_a_second_and_looks_for_none_where_there_is_none(
    hourly: Schedule,
) -> None:
    quiet = outlook.chores(unsent_after_seconds=60).has_advice
    cycle = advise(hourly, autonomy="propose", next_run_at=clock.now() + 5 * MINUTE)
    asked = outlook.chores(unsent_after_seconds=60).has_advice

    Metronome().beat()

    assert (quiet, asked) == (False, True)
    assert made_of(cycle).status == "proposed"
    assert not outlook.chores(unsent_after_seconds=60).has_advice
    ScheduleDecision.objects.update(expires_at=Now() - SECOND)
    assert outlook.chores(unsent_after_seconds=60).has_advice


def test_a_hundred_decisions_cost_a_bounded_number_of_statements_each(
    make_schedule: MakeSchedule,
) -> None:
    for number in range(10):
        advise(agents(make_schedule, name=f"agent {number}"), interval_ms=600_000)

    with CaptureQueriesContext(connection) as captured:
        made = adoption.adopt_advice(clock.now())

    assert made == 10
    assert len(captured) <= 10 + 10 * 11


def test_the_clock_of_a_proposal_never_runs_longer_than_a_week(
    make_schedule: MakeSchedule,
) -> None:
    yearly = agents(make_schedule, schedule_type="cron", schedule_config={"cron": "0 0 1 1 *"})
    Schedule.objects.filter(id=yearly.id).update(next_run_at=Now() + timedelta(days=60))

    decision = proposal(again(yearly))

    assert decision.expires_at - decision.created_at == adoption_advice.PROPOSAL_LASTS


def test_a_decision_of_nobody_is_of_the_system(hourly: Schedule) -> None:
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))

    assert decision.decided_by is None
    assert isinstance(decision.decided_at, datetime)
    assert audit.SYSTEM.user_id is None


def test_a_fire_that_was_put_off_is_explained(hourly: Schedule) -> None:
    assert hourly.next_run_at is not None
    put_off = hourly.next_run_at
    before = why.explain(hourly, at=put_off, now=clock.now()).code
    decision = decided(advise(hourly, next_run_at=put_off + 90 * MINUTE))
    moved = again(hourly)

    between = [
        why.explain(moved, at=put_off + late, now=clock.now()) for late in (timedelta(), HOUR)
    ]
    target = why.explain(moved, at=put_off + 90 * MINUTE, now=clock.now())
    after = why.explain(moved, at=put_off + 2 * HOUR, now=clock.now())

    assert [one.code for one in between] == ["retimed", "retimed"]
    assert str(decision.id) in between[0].sentence
    assert (before, target.code, after.code) == ("not_due", "not_due", "not_due")
