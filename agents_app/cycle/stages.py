"""Carries out the stage that a cycle stands at: plan, summarise or schedule. One holder at a time.

A stage ends by one guarded move to the next. What was done in it before its process died is done
again by the next holder, but for what rows say is done: steps that ended, advice that was given.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction

from agents_app import connections, draining, storing
from agents_app.cycle import (
    advising,
    approving,
    canvas,
    ending,
    going_on,
    holder,
    making,
    rows,
    spent,
    summarising,
)
from agents_app.cycle.keeping import Work, keeper
from agents_app.models import Cycle, CycleStage
from errors_app.taxonomy import Cancelled, LeaseLost
from executions_app import events
from executions_app.states import LostRace

AFTER_SUMMARY_PERCENT: Final = 90

logger = logging.getLogger(__name__)


def run_stage(cycle_id: UUID) -> None:
    """Carry out what the cycle stands at; nothing happens if somebody else does, or it is over."""
    try:
        if draining.is_on():
            canvas.stage(rows.find(cycle_id))  # for another worker
            return
        cycle = rows.hold_stage(cycle_id)
    finally:
        connections.let_go()
    if cycle is None:
        return
    assert cycle.stage_token is not None
    work = Work(
        cycle.id,
        cycle.stage_token,
        execution_id=cycle.execution_id,
        deadline=cycle.deadline,
        is_stage=True,
    )
    with keeper.holding(work):
        _carry_out(cycle, CycleStage(cycle.stage), work)


def _carry_out(cycle: Cycle, stage: CycleStage, work: Work) -> None:
    began = time.monotonic()
    try:
        work.check()
        STAGES[stage](cycle, work, began)
    except (LostRace, LeaseLost):
        if work.is_cut:
            storing.patiently(lambda: _leave_to_others(cycle, work))
        logger.info("Stage %s of cycle %s is another's, or over", stage, cycle.id)
    except Cancelled:
        _count(cycle, work)
        storing.patiently(lambda: ending.cancel(cycle))
    except (OperationalError, InterfaceError) as error:
        logger.warning("Stage %s of cycle %s is left to others: %s", stage, cycle.id, error)
        again = cycle.redriven + 1  # the watchdog sends it, and counts
        storing.patiently(lambda: rows.leave_stage(cycle, held=work.token, redriven=again))
    except BaseException as error:  # noqa: BLE001  nothing of a model may end its worker
        failure = error
        _count(cycle, work)
        logger.warning("Stage %s of cycle %s failed: %s", stage, cycle.id, error)
        storing.patiently(lambda: ending.fail(cycle, failure))


def _count(cycle: Cycle, work: Work) -> None:
    """A stage that ends the cycle has no move of its own that could store what it took."""
    cycle.usage = spent.usage_with(cycle, work.took())["usage"]


def _leave_to_others(cycle: Cycle, work: Work) -> None:
    rows.leave_stage(cycle, held=work.token)
    canvas.stage(cycle)


def _plan(cycle: Cycle, work: Work, began: float) -> None:
    held = holder.of(cycle)
    made = making.make(cycle, held, work)
    with connections.turn(), transaction.atomic():
        locked = rows.lock(cycle.id)
        making.store(locked, made)
        rows.leave_stage(
            locked,
            held=work.token,
            stage=CycleStage.EXECUTE,
            timings=_timings(locked, CycleStage.PLAN, began),
            **spent.totals(locked),
            **spent.usage_with(locked, work.took()),
            **made.columns(),
        )
        is_asked = approving.ask(locked, held)
        follow = going_on.NOTHING if is_asked else going_on.after(locked)
    events.announce()
    connections.let_go()
    if is_asked:
        approving.let_go(locked)
    going_on.send(locked, follow)


def _summarise(cycle: Cycle, work: Work, began: float) -> None:
    summary, notes = summarising.summarise(cycle, work)
    with connections.turn(), transaction.atomic():
        rows.note(
            cycle,
            held=work.token,
            stage=CycleStage.SCHEDULE,
            summary=summary,
            notes=[*cycle.notes, *notes],
            timings=_timings(cycle, CycleStage.SUMMARISE, began),
            **spent.usage_with(cycle, work.took()),
        )
        going_on.tell(cycle, percent=AFTER_SUMMARY_PERCENT, current_step="schedule")
    events.announce()
    if draining.is_on():
        _leave_to_others(cycle, work)
        return
    work.check()
    _schedule(cycle, work, time.monotonic())


def _schedule(cycle: Cycle, work: Work, began: float) -> None:
    changes = advising.advise(cycle, work)
    changes["timings"] = _timings(cycle, CycleStage.SCHEDULE, began)
    changes |= spent.usage_with(cycle, work.took())
    ending.finish(cycle, held=work.token, changes=changes)


def _timings(cycle: Cycle, stage: CycleStage, began: float) -> dict[str, int]:
    return {**cycle.timings, stage.value: round((time.monotonic() - began) * 1000)}


STAGES: Final[Mapping[CycleStage, Callable[[Cycle, Work, float], None]]] = {
    CycleStage.PLAN: _plan,
    CycleStage.SUMMARISE: _summarise,
    CycleStage.SCHEDULE: _schedule,
}
