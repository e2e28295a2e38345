"""Finds cycles that nobody carries on: lost messages, dead workers, requests that nobody heard.

Runs inside every beat, any number at once: each finding is taken by one guarded statement. Redis
may be empty and every worker gone; what the rows say is enough to go on. A message that nobody took
within a rescue period counts as lost; of two, the second finds nothing to claim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final, TypeVar
from uuid import UUID

from django.db import transaction

from agents_app import budget
from agents_app.cycle import canvas, ending, going_on, places, rows
from agents_app.interfaces import monitor
from agents_app.models import Cycle, CycleStatus
from config.env import env
from executions_app import clock, events, steps
from executions_app.database_errors import is_of_the_database
from executions_app.models import Execution
from executions_app.states import ExecutionStatus, LostRace, StepStatus
from executions_app.steps import End, HeldStep, Overdue

IDLE_SECONDS: Final = 3.0
MOST: Final = 200
MOST_ATTEMPTS: Final = 3  # of a step whose worker dies each time
LOST: Final = "Its worker was lost: it stopped renewing its lease"

logger = logging.getLogger(__name__)
One = TypeVar("One")


def look() -> int:
    """Carry on what nobody carries on; answers how much there was."""
    found = 0
    found += _each(rows.orphans(most=MOST), _let_go)
    found += _each(rows.to_cancel(most=MOST), _cancel)
    found += _each(steps.overdue(unclaimed_seconds=env.rescue_seconds, most=MOST), _step)
    found += _each(rows.overdue(unclaimed_seconds=env.rescue_seconds, most=MOST), _stage)
    found += _each(rows.stuck(idle_seconds=IDLE_SECONDS, most=MOST), going_on.look)
    monitor.tell_of_stalled(clock.now())
    budget.close_expired()
    return found + places.give_all(most=MOST)


def _each(found: Iterable[One], act: Callable[[One], None]) -> int:
    count = 0
    for one in found:
        count += 1
        try:
            act(one)
        except LostRace:
            continue
        except Exception as error:
            if is_of_the_database(error):
                raise
            # One cycle that cannot be carried on must not keep the others from it.
            logger.exception("A cycle could not be carried on: %s", one)
    return count


def _let_go(cycle_id: UUID) -> None:
    """Its execution is over, or another attempt has it."""
    cycle = rows.find(cycle_id)
    execution = Execution.objects.filter(id=cycle.execution_id).values_list("status").first()
    is_cancelled = execution is not None and execution[0] == ExecutionStatus.CANCELLED
    ending.close(cycle, CycleStatus.CANCELLED if is_cancelled else CycleStatus.FAILED)


def _cancel(cycle_id: UUID) -> None:
    cycle = rows.find(cycle_id)
    ending.stop(cycle)


def _stage(cycle_id: UUID) -> None:
    if rows.send_again(cycle_id, unclaimed_seconds=env.rescue_seconds):
        canvas.stage(rows.find(cycle_id))


def _step(found: Overdue) -> None:
    cycle = Cycle.objects.filter(execution_id=found.execution_id).first()
    if cycle is None:
        return
    if found.status == StepStatus.QUEUED:
        if steps.send_again([found.id], unclaimed_seconds=env.rescue_seconds):
            canvas.wave(cycle, [found.id])
        return
    assert found.lease_token is not None
    with transaction.atomic():
        locked = rows.lock(cycle.id)
        if found.attempt < MOST_ATTEMPTS:
            steps.hand_back(found.id, found.lease_token, reason=LOST)
            follow = going_on.Follow([found.id])
        else:
            steps.finish(_held(found), End(StepStatus.FAILED, reason=LOST, error_class="lost"))
            follow = going_on.after(locked)
    events.announce()
    going_on.send(locked, follow)


def _held(found: Overdue) -> HeldStep:
    assert found.lease_token is not None
    return HeldStep(
        id=found.id,
        execution_id=found.execution_id,
        name=found.name,
        position=0,
        wave=0,
        config={},
        is_critical=False,
        attempt=found.attempt,
        lease_token=found.lease_token,
    )
