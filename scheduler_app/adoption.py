"""The last word on the AI's advice: it becomes a next run, or is refused or superseded, with why.

A cycle leaves its advice in its own row. A beat takes it here, and makes one decision of it. What
it acts on is what the schedule allows (`autonomy`): nothing, a proposal to a person, or the next
run itself. The baseline rule stays what it is: when the AI says nothing, nothing is missing. What
a person has said of a spent budget comes the same way, and is followed at once.

A new next run is no edit and leaves the version alone; a pause is one, as if a person had paused
the schedule.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction

from agents_app.models import Cycle
from executions_app import clock, events
from executions_app.audit import Actor
from executions_app.database_errors import is_of_the_database
from executions_app.models import Execution
from executions_app.states import DecisionStatus, LostRace, SchedulerException, Trigger, check
from executions_app.wording import iso
from scheduler_app import (
    adoption_advice,
    adoption_effects,
    adoption_moves,
    adoption_weighing,
)
from scheduler_app.adoption_advice import Autonomy
from scheduler_app.adoption_moves import AI, BUDGET
from scheduler_app.adoption_moves import expire as expire
from scheduler_app.adoption_moves import reject as reject
from scheduler_app.clamping import Refused, as_text
from scheduler_app.definition import InvalidDefinition
from scheduler_app.models import DecisionKind, Schedule, ScheduleDecision

MOST_AT_ONCE: Final = 100
FIRED_LATER: Final = "the schedule has fired later"

logger = logging.getLogger(__name__)


class NotAdopted(SchedulerException):
    """A proposal was approved too late: it has expired, or the schedule is not what the AI saw."""


class NothingToRevert(SchedulerException):
    """What a decision brought about is over, or somebody has changed it since."""


def tend() -> None:
    """What a beat does here once there is something to do: new advice, and late proposals."""
    now = clock.now()
    adopt_advice(now)
    expire(now)


def adopt_advice(now: datetime) -> int:
    """Decide about what cycles advise; answers how many decisions that made.

    Whatever somebody else holds at the moment, a cycle or its schedule, waits for the next call.
    """
    with transaction.atomic():
        desk = _Desk.with_advice()
        made = sum(desk.decide(cycle, now=now) for cycle in desk.cycles)
    if made:
        events.announce()
    return made


def approve(decision: ScheduleDecision, *, actor: Actor) -> ScheduleDecision:
    """A person says yes: the proposal is adopted as it was shown.

    Raises IllegalMove for what is no open proposal, and NotAdopted where it comes too late; what
    no longer fits its schedule becomes `superseded` by that.
    """
    with transaction.atomic():
        schedule = _locked(decision.schedule_id)
        now = clock.now()
        decision.refresh_from_db()
        check(DecisionStatus(decision.status), DecisionStatus.ADOPTED)
        if decision.expires_at <= now:
            raise NotAdopted(f"This proposal expired at {iso(decision.expires_at)}")
        why_not = _why_not_any_more(decision, schedule, now=now)
        move = partial(adoption_moves.move, decision, actor=actor, now=now)
        if why_not or schedule is None:
            move(DecisionStatus.SUPERSEDED, refusal=why_not)
        else:
            adoption_effects.carry_out(decision, schedule, actor=actor, now=now)
            move(DecisionStatus.ADOPTED, clamped=decision.clamped, before=decision.before)
    events.announce()
    if why_not:
        raise NotAdopted(f"This proposal comes too late: {why_not}")
    return decision


def revert(decision: ScheduleDecision, *, actor: Actor) -> ScheduleDecision:
    """Take back what an adopted decision brought about, as long as that is still to come.

    The next run returns to where it was, or to what the rule says if that has passed; a pause ends.
    Raises IllegalMove for what was not adopted, and NothingToRevert.
    """
    with transaction.atomic():
        schedule = _locked(decision.schedule_id)
        now = clock.now()
        decision.refresh_from_db()
        check(DecisionStatus(decision.status), DecisionStatus.REVERTED)
        if schedule is None or not adoption_effects.is_in_force(decision, schedule, now=now):
            raise NothingToRevert(
                "Nothing is left to revert: the run has come, or the schedule was changed since"
            )
        adoption_effects.take_back(decision, schedule, actor=actor, now=now)
        adoption_moves.move(decision, DecisionStatus.REVERTED, actor=actor, now=now)
    events.announce()
    return decision


def _locked(schedule_id: UUID) -> Schedule | None:
    rows = Schedule.objects.select_related("calendar").select_for_update(of=("self",))
    return rows.filter(id=schedule_id).first()


@dataclass(frozen=True, slots=True)
class _Desk:
    """Cycles with advice, and their schedules: all of it locked, but what others hold."""

    cycles: Sequence[Cycle]
    schedules: Mapping[UUID, Schedule]
    held_elsewhere: frozenset[UUID]
    executions: Mapping[UUID, Execution]

    @classmethod
    def with_advice(cls) -> _Desk:
        waiting = Cycle.objects.filter(
            advice__isnull=False, decision_id__isnull=True, schedule_id__isnull=False
        ).defer("context", "plan", "analysis", "summary")
        cycles = list(waiting.order_by("id").select_for_update(skip_locked=True)[:MOST_AT_ONCE])
        ids = {one.schedule_id for one in cycles if one.schedule_id is not None}
        schedules = _unheld(ids) if ids else {}
        missing = ids.difference(schedules)
        held = Schedule.objects.filter(id__in=missing).values_list("id", flat=True)
        executions = Execution.objects.only("id", "nominal_at", "trigger")
        return cls(
            cycles,
            schedules,
            frozenset(held) if missing else frozenset(),
            executions.in_bulk([one.execution_id for one in cycles]) if cycles else {},
        )

    def decide(self, cycle: Cycle, *, now: datetime) -> bool:
        """Whether a decision was made; advice that makes trouble is refused, and stops no other."""
        assert cycle.schedule_id is not None  # others are not asked for
        if cycle.schedule_id in self.held_elsewhere:
            return False
        schedule = self.schedules.get(cycle.schedule_id)
        execution = self.executions.get(cycle.execution_id)
        nominal_at = None if execution is None else execution.nominal_at
        make = partial(adoption_advice.decision_of, cycle, nominal_at=nominal_at, now=now)
        try:
            with transaction.atomic():
                decision = make()
                if execution is not None and execution.trigger == Trigger.BACKFILL:
                    _close(decision, DecisionStatus.REFUSED, "a backfill moves no next run", now)
                _settle(decision, schedule, now=now)
                _store(decision, cycle, now=now)
        except Exception as error:
            if is_of_the_database(error):
                raise
            logger.exception("The advice of the cycle %s could not be taken", cycle.id)
            decision = make()
            why = adoption_advice.storable(f"it could not be carried out: {error}")
            _close(decision, DecisionStatus.REFUSED, why, now)
            _store(decision, cycle, now=now)
            if schedule is not None:
                schedule.refresh_from_db()
        return True


def _unheld(ids: Iterable[UUID]) -> dict[UUID, Schedule]:
    rows = Schedule.objects.filter(id__in=list(ids)).select_related("calendar").order_by("id")
    return {one.id: one for one in rows.select_for_update(of=("self",), skip_locked=True)}


def _store(decision: ScheduleDecision, cycle: Cycle, *, now: datetime) -> None:
    if decision.status in {DecisionStatus.PROPOSED, DecisionStatus.ADOPTED}:
        adoption_moves.supersede_older(decision, now=now)
    adoption_moves.insert(decision)
    taken = Cycle.objects.filter(id=cycle.id, decision_id__isnull=True)
    if not taken.update(decision_id=decision.id):
        raise LostRace("Somebody else took this advice first", id=cycle.id)


def _settle(decision: ScheduleDecision, schedule: Schedule | None, *, now: datetime) -> None:
    """Weigh a new decision, and carry it out where the AI may."""
    if decision.status == DecisionStatus.REFUSED:
        return
    why_not = adoption_weighing.outdated(decision, schedule, now=now)
    if schedule is None or why_not:
        _close(decision, DecisionStatus.SUPERSEDED, why_not, now)
        return
    wanted = adoption_advice.read(decision).wanted
    if wanted is None:
        return
    left = adoption_weighing.within_limits(wanted, decision, schedule, now=now)
    if isinstance(left, Refused):
        _close(decision, DecisionStatus.REFUSED, left.reason, now)
        return
    decision.clamped = {adoption_advice.name_of_instant(decision): as_text(left.at)}
    decision.notes = [one.as_json() for one in left.notes]
    if _has_fired_later(decision, left.at, schedule):
        _close(decision, DecisionStatus.SUPERSEDED, FIRED_LATER, now)
    is_asked = decision.autonomy != Autonomy.AUTO and not adoption_advice.is_of_a_budget(decision)
    if decision.status == DecisionStatus.PROPOSED and not is_asked:
        _adopt_by_itself(decision, schedule, now=now)


def _adopt_by_itself(decision: ScheduleDecision, schedule: Schedule, *, now: datetime) -> None:
    try:
        with transaction.atomic():
            adoption_effects.carry_out(decision, schedule, actor=_actor(decision), now=now)
    except InvalidDefinition as error:  # nothing was written: it would never run again
        schedule.refresh_from_db()
        _close(decision, DecisionStatus.REFUSED, str(error), now)
    else:
        decision.status, decision.decided_at = DecisionStatus.ADOPTED, now


def _actor(decision: ScheduleDecision) -> Actor:
    return BUDGET if adoption_advice.is_of_a_budget(decision) else AI


def _close(decision: ScheduleDecision, status: DecisionStatus, refusal: str, now: datetime) -> None:
    """Nothing comes of a new decision. What is only recorded stays that, and says it too."""
    decision.refusal = refusal
    if decision.status == DecisionStatus.PROPOSED:
        decision.status, decision.decided_at = status, now


def _why_not_any_more(
    decision: ScheduleDecision, schedule: Schedule | None, *, now: datetime
) -> str:
    """Why an open proposal cannot be adopted as it was shown; empty if it can."""
    why_not = adoption_weighing.outdated(decision, schedule, now=now)
    if why_not or schedule is None:
        return why_not
    shown = adoption_advice.shown(decision)
    left = adoption_weighing.within_limits(shown, decision, schedule, now=now)
    if isinstance(left, Refused):
        return left.reason
    if left.at != shown:
        return "what was shown has passed, or a limit has changed since"
    return FIRED_LATER if _has_fired_later(decision, left.at, schedule) else ""


def _has_fired_later(decision: ScheduleDecision, at: datetime, schedule: Schedule) -> bool:
    last = schedule.last_run_at
    return decision.kind != DecisionKind.PAUSE and last is not None and at <= last
