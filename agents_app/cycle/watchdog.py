"""Finds cycles that nobody carries on: lost messages, dead workers, requests that nobody heard.

Runs inside every beat, any number at once: a cycle that is found is its finder's for a while, or
what it lacks is given by one guarded statement. Redis may be empty and every worker gone; what the
rows say is enough to go on. A message that nobody took within a rescue period counts as lost; of
two, the second finds nothing to claim.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from django.db import transaction

from agents_app import budget
from agents_app.cycle import (
    canvas,
    ending,
    going_on,
    holder,
    monitor,
    overdue,
    places,
    rows,
    telling,
)
from agents_app.cycle.overdue import Found, Lack
from agents_app.models import Cycle, CycleStage, CycleStatus
from config.env import env
from errors_app.taxonomy import ErrorClass, WorkerLost
from executions_app import clock, events, steps
from executions_app.database_errors import is_away
from executions_app.models import Execution
from executions_app.states import ExecutionStatus, LostRace, StepStatus
from executions_app.steps import End, HeldStep, Overdue

MOST: Final = 200
MOST_WAITING: Final = 20  # of those that wait for an agent: each costs several statements
MOST_ATTEMPTS: Final = 3  # of a step whose worker dies each time
MOST_STAGES_LOST: Final = 5
OVER: Final = "the execution has ended"
LOST: Final = "Its worker was lost: it stopped renewing its lease"

logger = logging.getLogger(__name__)
One = TypeVar("One")


class _Seldom:
    """What can wait for a rescue period."""

    at = float("-inf")


def look() -> int:
    """Carry on what nobody carries on; answers how much there was."""
    asked = _see_to_each(partial(overdue.asked_to_stop, most=MOST))
    working = _see_to_each(partial(overdue.working, most=MOST))
    waiting = _see_to_each(partial(overdue.waiting, most=MOST_WAITING))
    if working:
        monitor.tell_of_stalled(clock.now(), among=[one.id for one in working])
    if time.monotonic() - _Seldom.at >= env.rescue_seconds:
        _Seldom.at = time.monotonic()
        budget.close_expired()
    return len(asked) + len(working) + len(waiting) + places.give_all(most=MOST)


def _see_to_each(find: Callable[[], list[Found]]) -> list[Found]:
    """One kind of finding; what goes wrong with it, or with one of it, stops no other."""
    found: list[Found] = []
    try:
        found = find()
        for one in found:
            _try(lambda one: GIVES[one.lack](one.id), one)
    except Exception as error:
        if is_away(error):
            raise
        logger.exception("Cycles could not be looked after")
    return found


def _try(act: Callable[[One], None], one: One) -> None:
    try:
        act(one)
    except LostRace:
        return
    except Exception as error:
        if is_away(error):
            raise
        logger.exception("A cycle could not be carried on: %s", one)


def _let_go(cycle_id: UUID) -> None:
    """Its execution is over, or another attempt has it."""
    cycle = rows.find(cycle_id)
    execution = Execution.objects.filter(id=cycle.execution_id).values_list("status").first()
    is_cancelled = execution is not None and execution[0] == ExecutionStatus.CANCELLED
    ending.close(cycle, CycleStatus.CANCELLED if is_cancelled else CycleStatus.FAILED)


def _stop(cycle_id: UUID) -> None:
    cycle = rows.find(cycle_id)
    is_late = cycle.stage != CycleStage.WAIT and cycle.deadline < clock.now()
    if is_late or holder.of(cycle).cancel_requested:
        ending.stop(cycle)


def _stage(cycle_id: UUID) -> None:
    """Its message goes again: whoever held the stage holds it no more."""
    cycle = rows.find(cycle_id)
    if cycle.redriven > MOST_STAGES_LOST:
        ending.fail(cycle, WorkerLost(f"{LOST}, {cycle.redriven} times in one stage"))
    else:
        canvas.stage(cycle)


def _steps(cycle_id: UUID) -> None:
    cycle = rows.find(cycle_id)
    found = steps.overdue(cycle.execution_id, unclaimed_seconds=env.rescue_seconds)
    for one in found:
        _try(partial(_step, cycle_id), one)


def _step(cycle_id: UUID, found: Overdue) -> None:
    with transaction.atomic():
        locked = rows.lock(cycle_id)
        follow = _move(locked, found)
    events.announce()
    going_on.send(locked, follow)


def _move(cycle: Cycle, found: Overdue) -> going_on.Follow:
    """In the caller's transaction, the cycle locked: what becomes of a step that needs somebody."""
    is_over = cycle.status != CycleStatus.RUNNING
    if found.status == StepStatus.QUEUED:
        if is_over:
            telling.end_unstarted(cycle, {found.id: OVER}, status=StepStatus.CANCELLED)
            return going_on.NOTHING
        return going_on.Follow(steps.send_again([found.id], unclaimed_seconds=env.rescue_seconds))
    assert found.lease_token is not None
    if is_over:
        steps.finish(_held(found), End(StepStatus.CANCELLED, reason=OVER))
        events.emit([telling.of(found, "step:cancelled", cycle=cycle, reason=OVER)])
        return going_on.NOTHING
    if found.attempt < MOST_ATTEMPTS and not found.must_not_repeat:
        steps.hand_back(found.id, found.lease_token, reason=LOST)
        return going_on.Follow([found.id])
    told = {"error": LOST, "may_repeat": False if found.must_not_repeat else None}
    failed = End(StepStatus.FAILED, reason=LOST, error_class=ErrorClass.LOST, result=told)
    steps.finish(_held(found), failed)
    events.emit([telling.of(found, "step:failed", cycle=cycle, reason=LOST)])
    return going_on.after(cycle)


def _held(found: Overdue) -> HeldStep:
    assert found.lease_token is not None
    return HeldStep(
        id=found.id,
        execution_id=found.execution_id,
        name=found.name,
        position=0,
        wave=found.wave,
        config={},
        is_critical=False,
        attempt=found.attempt,
        lease_token=found.lease_token,
    )


GIVES: Final[Mapping[Lack, Callable[[UUID], None]]] = {
    Lack.OVER: _steps,
    Lack.EXECUTION: _let_go,
    Lack.STOP: _stop,
    Lack.AGENT: places.give,
    Lack.STAGE: _stage,
    Lack.STEPS: _steps,
    Lack.NEXT: going_on.look,
}
