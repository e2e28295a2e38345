"""A plan that waits for a person holds nothing; yes, no, time and cancel each end that once."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from agents_app import selection
from agents_app.cycle import approving, ending, frozen, monitor, running, stages, watchdog
from agents_app.models import Cycle, CycleStage, CycleStatus, Endpoint, Memory, PlanApproval
from agents_app.tools import Tool, registry, tool
from errors_app import handling, recovery, rescuer
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, holding, lifecycle, overlaps, uniqueness
from executions_app.audit import SYSTEM, Actor
from executions_app.models import AuditEntry, Event, Execution, Step
from executions_app.states import IllegalMove, LostRace, SchedulerException
from scheduler_app import consequences, explained
from tests import verbs
from tests.agents_app.cycle import asked
from tests.agents_app.cycle.asked import by, cycle_of, execution_of, goes_on, late

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(hours=1)
RNG = random.Random(7)


@pytest.fixture
def user() -> User:
    return asked.owner(username="ann")


def told(execution: Execution) -> list[str]:
    events = Event.objects.filter(execution_id=execution.id).order_by("id")
    return [one.type for one in events if not one.type.endswith(":progress")]


def approve(approval: PlanApproval, *, user: User) -> PlanApproval:
    return approving.approve(approval, plan_hash=approval.plan_hash, actor=by(user))


def steps_of(approval: PlanApproval) -> list[str]:
    rows = Step.objects.filter(execution_id=approval.execution_id).order_by("position")
    return [one.status for one in rows]


def a_tool(name: str, **promises: Any) -> Tool:
    make = tool(name, description="does", schema={"type": "object"}, **promises)
    return make(lambda _arguments, _context: None)


def record_of(execution: Execution) -> ErrorRecord:
    assert execution.last_error_id is not None
    return ErrorRecord.objects.get(id=execution.last_error_id)


# --- asked, or not ----------------------------------------------------------------------


def test_a_plan_that_is_to_be_approved_waits_and_nobody_holds_it(user: User) -> None:
    approval = asked.waiting(user)

    execution, cycle = execution_of(approval), cycle_of(approval)
    assert (execution.status, execution.attempt) == ("waiting", 1)
    assert (execution.lease_token, execution.lease_expires_at) == (None, None)
    assert (cycle.status, cycle.stage, cycle.stage_token) == ("waiting", CycleStage.EXECUTE, None)
    assert steps_of(approval) == ["planned", "planned"]
    assert approval.status == "waiting"
    assert timedelta(hours=23) < approval.expires_at - clock.now() <= timedelta(hours=24)
    assert "execution:waiting" in told(execution)


@pytest.mark.parametrize(
    ("approve_plan", "endpoints", "waits"),
    [
        ("never", ["look", "purge"], False),
        ("unsafe", ["look"], False),
        ("unsafe", ["look", "purge"], True),
        ("always", ["look"], True),
    ],
)
def test_the_schedule_says_about_which_plans_a_person_is_asked(
    user: User, approve_plan: str, endpoints: list[str], waits: bool
) -> None:
    execution_id = asked.queued(user, approve_plan=approve_plan, endpoints=endpoints)

    asked.planned(execution_id)

    status = Execution.objects.get(id=execution_id).status
    assert status == ("waiting" if waits else "running")


def test_what_a_step_may_change_is_named(user: User) -> None:
    approval = asked.waiting(user, approve_plan="unsafe")

    assert approval.risks == [
        {"position": 1, "name": "purge", "why": "POST changes something there"}
    ]


def test_a_tool_is_a_risk_by_what_it_promises_and_by_what_stands_in_for_it() -> None:
    stood_in = a_tool("a_stood_in", alternatives=("remember",))
    guarded = a_tool("a_guarded", permission="auth.add_user")
    try:
        for one in (stood_in, guarded):
            registry.register(one)

        def risk(name: str) -> str:
            return frozen.risk_of(name, {"target": "tool"})

        assert risk("now") == ""
        assert risk("remember") == "changes something"
        assert risk("a_guarded") == "needs the permission 'auth.add_user'"
        assert "'remember' takes its place" in risk("a_stood_in")
        assert risk("unknown") == "nobody here knows this tool"
    finally:
        for one in (stood_in, guarded):
            registry._registered.pop(one.name)


def test_an_endpoint_of_which_nothing_is_known_is_a_risk() -> None:
    assert frozen.risk_of("gone", {"target": "endpoint", "endpoint": None})


def test_what_was_asked_to_stop_while_it_was_planned_does_not_wait(user: User) -> None:
    cycle = asked.begun(asked.queued(user))
    lifecycle.cancel(Execution.objects.get(id=cycle.execution_id))

    stages.run_stage(cycle.id)
    watchdog.look()

    assert Execution.objects.get(id=cycle.execution_id).status == "cancelled"
    assert not PlanApproval.objects.exists()


def test_an_execution_that_was_to_begin_by_an_instant_waits_no_longer(user: User) -> None:
    by_then = clock.now() + timedelta(minutes=5)

    approval = asked.waiting(user, expires_at=by_then)

    assert approval.expires_at == by_then


def test_a_later_attempt_has_begun_in_time_and_waits_as_long_as_others(user: User) -> None:
    execution_id = asked.queued(user, expires_at=clock.now() + timedelta(minutes=5))
    (held,) = lifecycle.claim([execution_id], worker_id="a worker")
    hiccup = HandlerError("a hiccup", error_class=ErrorClass.TRANSIENT)
    recovery.recover(held, hiccup, rng=RNG)
    Execution.objects.filter(id=execution_id).update(status="queued")

    asked.planned(execution_id)

    approval = PlanApproval.objects.get(execution_id=execution_id)
    assert approval.expires_at - clock.now() > timedelta(hours=23)


# --- while it waits ---------------------------------------------------------------------


def test_nothing_looks_after_a_plan_that_waits(user: User) -> None:
    approval = asked.waiting(user)
    past = {"updated_at": clock.now() - LONG_AGO, "deadline": clock.now() - LONG_AGO}
    Cycle.objects.filter(id=approval.cycle_id).update(look_at=clock.now() - LONG_AGO, **past)

    watchdog.look()
    watchdog.look()

    assert rescuer.rescue_lost(rng=RNG) == 0
    assert monitor.stalled(clock.now()) == []
    assert execution_of(approval).status == "waiting"
    assert (cycle_of(approval).status, cycle_of(approval).redriven) == ("waiting", 0)
    assert steps_of(approval) == ["planned", "planned"]


def test_the_place_of_its_agent_is_free_while_a_plan_waits(user: User) -> None:
    asked.an_agent(max_concurrent=1)
    first = asked.begun(asked.queued(user))
    second = asked.begun(asked.queued(user))
    before = second.stage

    stages.run_stage(first.id)

    second.refresh_from_db()
    assert (before, second.stage) == (CycleStage.WAIT, CycleStage.PLAN)
    used = selection.standing(selection.Requirements())[0].used
    assert used == 1


def test_what_waits_counts_under_no_limit_and_is_in_the_way_of_its_schedule(user: User) -> None:
    schedule_id = uuid4()

    asked.waiting(user, schedule_id=schedule_id)

    assert holding.active("task", {"task:agent": ("agent", 10)}) == {"task:agent": 0}
    standing = overlaps.standing([str(schedule_id)])[str(schedule_id)]
    assert (standing.active, standing.held) == (1, 0)


def test_a_later_run_that_takes_its_place_ends_what_waits(user: User) -> None:
    schedule_id = uuid4()
    approval = asked.waiting(user, schedule_id=schedule_id)

    assert overlaps.supersede([str(schedule_id)]) == set()

    assert execution_of(approval).status == "cancelled"


# --- yes --------------------------------------------------------------------------------


def test_what_is_approved_goes_on_with_the_plan_that_was_shown(user: User) -> None:
    approval = asked.waiting(user)
    shown = frozen.steps(approval.execution_id)

    approve(approval, user=user)
    pending = execution_of(approval)
    cycle = goes_on(approval)

    assert (pending.status, pending.attempt, pending.held_by) == ("pending", 0, "")
    execution = execution_of(approval)
    assert (execution.status, execution.attempt) == ("running", 1)
    assert (cycle.status, cycle.stage) == (CycleStatus.RUNNING, CycleStage.EXECUTE)
    assert cycle.token == execution.lease_token
    assert steps_of(approval) == ["queued", "planned"]
    now = frozen.steps(approval.execution_id)
    assert [(one.id, one.config) for one in now] == [(one.id, one.config) for one in shown]
    moves = [one for one in told(execution) if one.startswith("execution:")]
    assert moves[-4:] == [
        *("execution:waiting", "execution:approved", "execution:queued", "execution:started"),
    ]
    entry = AuditEntry.objects.get(action="plan.approved")
    assert (entry.actor, entry.object_id) == ("ann", str(approval.id))
    assert (entry.after or {})["plan_hash"] == approval.plan_hash


def test_another_plan_than_the_one_that_waits_is_not_approved(user: User) -> None:
    approval = asked.waiting(user)

    with pytest.raises(approving.PlanChanged):
        approving.approve(approval, plan_hash="0" * 64, actor=by(user))
    step = Step.objects.filter(execution_id=approval.execution_id)[0]
    Step.objects.filter(id=step.id).update(config={**step.config, "parameters": {"all": True}})
    with pytest.raises(approving.PlanChanged):
        approve(approval, user=user)

    assert execution_of(approval).status == "waiting"
    assert PlanApproval.objects.get(id=approval.id).status == "waiting"


def test_a_plan_is_not_approved_after_its_time(user: User) -> None:
    approval = late(asked.waiting(user))

    with pytest.raises(approving.TooLate):
        approve(approval, user=user)

    assert execution_of(approval).status == "waiting"


def test_an_approval_that_dies_before_its_end_has_done_nothing_and_can_be_repeated(
    user: User,
) -> None:
    approval = asked.waiting(user)
    nobody = Actor("nobody", user_id=2_000_000_000)  # refused at the commit

    with pytest.raises(IntegrityError):
        approving.approve(approval, plan_hash=approval.plan_hash, actor=nobody)
    with pytest.raises(IntegrityError):
        approving.reject(approval, reason="no", actor=nobody)
    before = execution_of(approval).status
    approve(approval, user=user)

    assert before == "waiting"
    assert execution_of(approval).status == "pending"


def test_a_worker_that_dies_between_yes_and_the_first_step_loses_an_attempt_and_no_plan(
    user: User,
) -> None:
    approval = asked.waiting(user)
    approve(approval, user=user)
    shown = [one.id for one in frozen.steps(approval.execution_id)]

    for worker in ("first", "second"):
        verbs.queue_due(limit=10, ids=[approval.execution_id])
        lifecycle.claim([approval.execution_id], worker_id=worker)
        Execution.objects.filter(id=approval.execution_id).update(
            lease_expires_at=clock.now() - LONG_AGO
        )
        rescuer.rescue_lost(rng=RNG)
        lifecycle.due_now([approval.execution_id])
    cycle = goes_on(approval)

    assert execution_of(approval).attempt == 3
    assert (cycle.status, cycle.stage) == ("running", CycleStage.EXECUTE)
    assert [one.id for one in frozen.steps(approval.execution_id)] == shown
    assert PlanApproval.objects.get(execution_id=approval.execution_id).status == "approved"


def test_an_attempt_that_fails_after_a_yes_is_followed_by_another_without_a_question(
    user: User,
) -> None:
    approval = asked.waiting(user)
    approve(approval, user=user)
    cycle = goes_on(approval)

    hiccup = HandlerError("a hiccup", error_class=ErrorClass.TRANSIENT)
    ending.fail(cycle, hiccup)
    lifecycle.due_now([approval.execution_id])
    again = goes_on(approval)

    assert (again.status, again.stage) == ("running", CycleStage.EXECUTE)
    assert PlanApproval.objects.count() == 1


def test_an_endpoint_that_was_switched_off_after_the_plan_was_made_is_not_called(
    user: User,
) -> None:
    approval = asked.waiting(user)
    approve(approval, user=user)
    Endpoint.objects.filter(name="look").update(enabled=False)
    cycle = goes_on(approval)
    step = Step.objects.get(execution_id=approval.execution_id, name="look")

    running.run_step(cycle.id, step.id)

    step.refresh_from_db()
    assert (step.status, step.error_class) == ("failed", "permanent")
    assert "switched off since the plan was made" in step.reason


def test_what_was_approved_is_not_put_off_for_another_of_its_key(user: User) -> None:
    approval = asked.waiting(user)
    approve(approval, user=user)

    later = clock.now() + LONG_AGO
    is_put_off = uniqueness.postpone(approval.execution_id, due_at=later, parameters={"other": 1})

    assert not is_put_off
    assert execution_of(approval).parameters == {}


# --- no ---------------------------------------------------------------------------------


def test_a_rejected_plan_fails_its_execution_for_good_and_says_who_and_why(user: User) -> None:
    asked.an_agent()
    approval = asked.waiting(user)

    approving.reject(approval, reason="not at night", actor=by(user))

    execution = execution_of(approval)
    assert (execution.status, execution.outcome, execution.attempt) == ("failed", "rejected", 1)
    assert not DeadLetter.objects.exists()
    record = record_of(execution)
    assert record.message == "'ann' rejected the plan: 'not at night'"
    assert (record.attempt, record.recovery_status, record.severity) == (1, "ignored", "low")
    assert record.handled_by_id == user.pk
    assert "ann said: not at night." in explained.why(execution, now=clock.now())
    assert (cycle_of(approval).status, steps_of(approval)) == ("failed", ["cancelled"] * 2)
    assert {"execution:failed", "agent:failed", "error:recorded"} <= set(told(execution))
    assert AuditEntry.objects.get(action="plan.rejected").note == "not at night"
    (kept,) = Memory.objects.filter(execution_id=execution.id)
    assert kept.text.startswith("failed, rejected: a person rejected the plan: 'not at night'")


def test_what_was_rejected_is_not_tried_again_by_any_door(user: User) -> None:
    approval = asked.waiting(user)
    approving.reject(approval, reason="no", actor=by(user))
    execution = execution_of(approval)
    record = record_of(execution)

    with pytest.raises(IllegalMove):
        handling.retry(record, actor=SYSTEM)
    with pytest.raises(IllegalMove):
        handling.requeue_execution(execution, actor=SYSTEM)

    assert execution_of(approval).status == "failed"


def test_a_plan_that_nobody_said_yes_to_is_carried_out_by_nobody(user: User) -> None:
    """Whatever brought its execution back to a worker."""
    approval = asked.waiting(user)
    approving.reject(approval, reason="no", actor=by(user))
    lifecycle.requeue([approval.execution_id], budget=3)

    with pytest.raises(approving.NotApproved, match="is rejected"):
        goes_on(approval)

    assert steps_of(approval) == ["cancelled"] * 2


def test_a_plan_that_is_made_too_late_is_no_plan(user: User) -> None:
    """Its execution was given to another attempt meanwhile: that one plans, and asks."""
    cycle = asked.begun(asked.queued(user))
    Execution.objects.filter(id=cycle.execution_id).update(status="pending", lease_token=None)

    stages.run_stage(cycle.id)

    cycle.refresh_from_db()
    assert (cycle.tier, cycle.stage) == ("", "plan")
    assert not Step.objects.filter(execution_id=cycle.execution_id).exists()
    assert not PlanApproval.objects.exists()


def test_a_plan_that_nobody_was_asked_about_is_carried_out_by_nobody(user: User) -> None:
    approval = asked.waiting(user)
    PlanApproval.objects.all().delete()
    Cycle.objects.filter(id=approval.cycle_id).update(status="failed")
    ended = Execution.objects.filter(id=approval.execution_id)
    ended.update(status="failed", completed_at=clock.now())
    lifecycle.requeue([approval.execution_id], budget=3)

    with pytest.raises(approving.NotApproved, match="Nobody was asked"):
        goes_on(approval)


def test_an_outcome_of_before_withdraws_no_later_question(user: User) -> None:
    """A requeue came before the outcome of the first end was drawn, and its plan waits now."""
    approval = asked.waiting(user)

    with transaction.atomic():
        approving.withdraw([approval.execution_id])

    approval.refresh_from_db()
    assert (approval.status, cycle_of(approval).status) == ("waiting", "waiting")


def test_a_question_that_was_left_behind_is_closed_and_holds_up_no_other(user: User) -> None:
    left, other = asked.waiting(user), asked.waiting(user)
    ended = Execution.objects.filter(id=left.execution_id)
    ended.update(status="cancelled", completed_at=clock.now())
    for one in (left, other):
        late(one)

    assert approving.expire() == 1

    left.refresh_from_db()
    other.refresh_from_db()
    assert (left.status, cycle_of(left).status, other.status) == (
        "withdrawn",
        "cancelled",
        "expired",
    )


def test_nobody_is_asked_what_cannot_be_answered_in_time(user: User) -> None:
    """Planning took longer than the time within which the execution was to begin."""
    execution_id = asked.queued(user, expires_at=clock.now() + timedelta(seconds=30))
    cycle = asked.begun(execution_id)
    Execution.objects.filter(id=execution_id).update(expires_at=clock.now())

    stages.run_stage(cycle.id)

    approval = PlanApproval.objects.get()
    assert approval.expires_at - clock.now() > timedelta(seconds=50)
    approve(approval, user=user)
    assert execution_of(approval).expires_at is None


def test_rejections_with_different_words_are_likes_of_each_other(user: User) -> None:
    for reason in ("not at night", 'say "why" first'):
        approving.reject(asked.waiting(user), reason=reason, actor=by(user))

    assert len(set(ErrorRecord.objects.values_list("fingerprint", flat=True))) == 1


# --- time -------------------------------------------------------------------------------


def test_a_plan_that_nobody_answers_expires_and_no_other_does(user: User) -> None:
    asked.an_agent()
    approval, other = asked.waiting(user), asked.waiting(user)
    before = approving.expire()
    late(approval)

    expired = approving.expire(), approving.expire()

    assert (before, expired) == (0, (1, 0))
    execution = execution_of(approval)
    assert (execution.status, execution.outcome) == ("failed", "expired")
    assert not DeadLetter.objects.exists()
    record = record_of(execution)
    assert (record.recovery_status, record.severity) == ("escalated", "high")
    assert "Nobody approved its plan in time" in explained.why(execution, now=clock.now())
    (kept,) = Memory.objects.filter(execution_id=execution.id)
    assert kept.text.startswith("failed, expired: Nobody approved the plan until")
    with pytest.raises(IllegalMove, match="because nobody decided in time"):
        handling.retry(record, actor=SYSTEM)
    assert execution_of(approval).status == "failed"
    approval.refresh_from_db()
    assert (approval.status, approval.reason) == ("expired", "nobody answered in time")
    assert execution_of(other).status == "waiting"


# --- cancel -----------------------------------------------------------------------------


def test_cancelling_what_waits_ends_it_at_once_and_nobody_is_asked_any_more(user: User) -> None:
    approval = asked.waiting(user)

    status = lifecycle.cancel(execution_of(approval), actor=by(user))
    with pytest.raises(LostRace):
        approve(approval, user=user)
    consequences.draw()

    approval.refresh_from_db()
    assert (status, approval.status) == ("cancelled", "withdrawn")
    assert (cycle_of(approval).status, steps_of(approval)) == ("cancelled", ["cancelled"] * 2)
    assert "agent:failed" in told(execution_of(approval))
    with pytest.raises(IllegalMove):
        approve(approval, user=user)


def test_cancelling_after_a_yes_closes_the_cycle_and_keeps_the_answer(user: User) -> None:
    approval = asked.waiting(user)
    approve(approval, user=user)

    lifecycle.cancel(execution_of(approval))
    consequences.draw()

    approval.refresh_from_db()
    assert (approval.status, cycle_of(approval).status) == ("approved", "cancelled")


# --- two at once ------------------------------------------------------------------------


def alone(act: Callable[[], object]) -> object:
    """As in another process: with a connection of its own, which is closed."""
    try:
        return act()
    finally:
        connection.close()


def together(*acts: Callable[[], object]) -> list[object]:
    """All at once; an act that comes too late answers its error."""
    start = Barrier(len(acts))

    def begin(act: Callable[[], object]) -> object:
        start.wait(20)
        try:
            return act()
        except SchedulerException as error:
            return error

    with ThreadPoolExecutor(len(acts)) as crowd:
        made = [crowd.submit(alone, lambda act=act: begin(act)) for act in acts]  # type: ignore[misc]
        return [one.result(60) for one in made]


def read(approval: PlanApproval) -> PlanApproval:
    return PlanApproval.objects.get(id=approval.id)


def ends_of(approval: PlanApproval) -> tuple[str, str, int]:
    ended = Event.objects.filter(
        execution_id=approval.execution_id,
        type__in=["execution:approved", "execution:failed", "execution:cancelled"],
    )
    return read(approval).status, execution_of(approval).status, ended.count()


@pytest.mark.parametrize("_turn", range(5))
def test_of_two_people_one_is_first(user: User, _turn: int) -> None:
    approval = asked.waiting(user)

    answers = together(
        lambda: approve(read(approval), user=user),
        lambda: approving.reject(read(approval), reason="no", actor=by(user)),
    )

    assert sum(isinstance(one, IllegalMove | LostRace) for one in answers) == 1
    assert ends_of(approval) in {("approved", "pending", 1), ("rejected", "failed", 1)}


@pytest.mark.parametrize("_turn", range(5))
def test_of_a_person_and_two_beats_one_is_first(user: User, _turn: int) -> None:
    approval = asked.waiting(user)
    soon = clock.now() + timedelta(milliseconds=20)
    PlanApproval.objects.filter(id=approval.id).update(expires_at=soon)

    together(lambda: approve(read(approval), user=user), approving.expire, approving.expire)
    while read(approval).status == "waiting":  # the person was too late, and the beats too early
        approving.expire()

    assert ends_of(approval) in {("approved", "pending", 1), ("expired", "failed", 1)}


@pytest.mark.parametrize("_turn", range(5))
def test_of_a_yes_and_a_cancel_both_leave_an_execution_that_ends(user: User, _turn: int) -> None:
    approval = asked.waiting(user)

    together(
        lambda: approve(read(approval), user=user),
        lambda: lifecycle.cancel(execution_of(approval)),
    )
    if execution_of(approval).status == "pending":  # the cancel saw it move
        lifecycle.cancel(execution_of(approval))
    consequences.draw()

    assert execution_of(approval).status == "cancelled"
    assert cycle_of(approval).status == "cancelled"
    assert read(approval).status in {"approved", "withdrawn"}
