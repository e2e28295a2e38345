"""What follows when a step of a cycle has ended: the next steps, the next wave, or the next stage.

Called by whoever ends a step, by the body of a chord and by the watchdog, always under the lock of
the cycle's row: each sees all that the others have done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from agents_app import connections
from agents_app.cycle import canvas, flow, rows, telling
from agents_app.cycle.flow import Standing
from agents_app.models import Cycle, CycleStage, CycleStatus
from executions_app import events, leases, prepared, steps
from executions_app.ledger import Claimed
from executions_app.states import StepStatus

# Never the results: each end of a step reads all of them.
STANDING: Final = """
SELECT id, name, position, wave, status, depends_on, is_critical,
    coalesce((config->>'priority')::int, 0)
FROM execution_steps WHERE execution_id = %s ORDER BY position
"""
SINCE_FIRST: Final = """
SELECT round(extract(epoch FROM now() - min(queued_at)) * 1000)::int FROM execution_steps
WHERE execution_id = %s AND queued_at >= %s
"""
FIRST_PERCENT, LAST_PERCENT = 10, 80  # of the steps; before them is the plan, after them the rest


@dataclass(frozen=True, slots=True)
class Follow:
    """What is to be sent once the transaction is over."""

    steps: Sequence[UUID] = ()
    has_stage: bool = False
    is_to_end: bool = False


NOTHING = Follow()


def look(cycle_id: UUID) -> None:
    """Go on with a cycle if it can; nothing happens where somebody did already."""
    with connections.turn(), transaction.atomic():
        cycle = rows.lock(cycle_id)
        follow = after(cycle)
    events.announce()
    send(cycle, follow)


def after(cycle: Cycle) -> Follow:
    """In the caller's transaction, the cycle locked: move what can be moved."""
    if cycle.status != CycleStatus.RUNNING or cycle.stage != CycleStage.EXECUTE:
        return NOTHING
    held = leases.held(cycle.execution_id, cycle.token)
    if held is None:
        return NOTHING
    standing = _standing(cycle)
    if held.cancel_requested:
        return _cancel(cycle, standing)
    follow = flow.follow(standing, concurrency=cycle.concurrency)
    telling.end_unstarted(cycle, follow.skip, status=StepStatus.SKIPPED)
    if follow.is_over:
        rows.move(cycle, stage=CycleStage.SUMMARISE, timings=_timings(cycle, held))
    else:
        rows.move(cycle, wave=follow.wave)
    queued = steps.queue(cycle.execution_id, follow.queue) if follow.queue else []
    _tell(held, standing, skipped=len(follow.skip))
    in_order = [one for one in follow.queue if one in set(queued)]
    return Follow(in_order, has_stage=follow.is_over)


def send(cycle: Cycle, follow: Follow) -> None:
    """Publish what `after` has decided, outside its transaction."""
    if follow.steps:
        canvas.wave(cycle, follow.steps)
    if follow.has_stage:
        canvas.stage(cycle)


def tell(cycle: Cycle, *, percent: int, current_step: str) -> None:
    """In the caller's transaction: how far a cycle is whose steps have all ended."""
    held = leases.held(cycle.execution_id, cycle.token)
    if held is not None:
        counted = _counted(_standing(cycle), skipped=0)
        leases.tell_progress(held, {**counted, "percent": percent, "current_step": current_step})


def _cancel(cycle: Cycle, standing: Sequence[Standing]) -> Follow:
    left = {one.id: "cancelled" for one in standing if one.status in flow.UNSTARTED}
    telling.end_unstarted(cycle, left, status=StepStatus.CANCELLED)
    return Follow(is_to_end=not any(one.status is StepStatus.RUNNING for one in standing))


def _standing(cycle: Cycle) -> list[Standing]:
    return [
        Standing(
            id=id_,
            name=name,
            position=position,
            wave=wave,
            status=StepStatus(status),
            depends_on=frozenset(depends_on),
            is_critical=is_critical,
            priority=priority,
        )
        for id_, name, position, wave, status, depends_on, is_critical, priority in _rows(
            STANDING, [cycle.execution_id]
        )
    ]


def _timings(cycle: Cycle, held: Claimed) -> dict[str, int]:
    """With how long this attempt carried out steps; a plan without any took no time."""
    ((took_ms,),) = _rows(SINCE_FIRST, [cycle.execution_id, held.started_at])
    return {**cycle.timings, CycleStage.EXECUTE.value: took_ms or 0}


def _rows(statement: str, parameters: Sequence[Any]) -> list[Any]:
    return prepared.execute(statement, parameters).fetchall()


def _tell(held: Claimed, standing: Sequence[Standing], *, skipped: int) -> None:
    counted = _counted(standing, skipped=skipped)
    share = counted["done"] / max(1, counted["total"])
    percent = FIRST_PERCENT + int((LAST_PERCENT - FIRST_PERCENT) * share)
    running = [one.name for one in standing if one.status is StepStatus.RUNNING]
    current = ", ".join(running)[:200]
    leases.tell_progress(held, {**counted, "percent": percent, "current_step": current})


def _counted(standing: Sequence[Standing], *, skipped: int) -> dict[str, int]:
    return {
        "done": sum(one.status in flow.ENDED for one in standing) + skipped,
        "total": len(standing),
        "failed": sum(one.status is StepStatus.FAILED for one in standing),
    }
