"""How a cycle ends, and with it its execution: completed, failed or cancelled; once.

The execution moves under the cycle's token as it does under a worker's lease, so of two who end a
cycle one finds that there is nothing left to end.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from agents_app import connections
from agents_app.cycle import afterwards, got_over, holder, places, rows, spent, telling
from agents_app.models import Cycle, CycleStatus, Tier
from errors_app import recovery, taxonomy
from errors_app.taxonomy import DeadlineExceeded, ErrorClass, HandlerError, JobExecutionError
from executions_app import events, leases, lifecycle, steps
from executions_app.models import Step
from executions_app.states import LostRace, Outcome, StepStatus

UNSTARTED: Final = (StepStatus.PLANNED, StepStatus.QUEUED)
OVER: Final = "the execution has ended"
_random = random.SystemRandom()


class StepsFailed(HandlerError):
    """Nothing that the plan wanted was done, or a critical step of it failed."""


class MayHaveHappened(HandlerError):
    """The attempt failed, whatever for, and a step of it must not be made a second time."""


def finish(cycle: Cycle, *, held: UUID, changes: Mapping[str, Any]) -> None:
    """The last stage is over: the execution ends as its steps did; raises LostRace.

    `held`: under which token the stage is carried out; `changes`: what came of it.
    """
    found = list(Step.objects.filter(execution_id=cycle.execution_id).order_by("position"))
    if (failure := _failure(found)) is None:
        _complete(cycle, found, held=held, changes=changes)
        return
    rows.note(cycle, held=held, **changes)
    fail(cycle, failure)


def _complete(
    cycle: Cycle, found: Sequence[Step], *, held: UUID, changes: Mapping[str, Any]
) -> None:
    with connections.turn(), transaction.atomic():
        locked = rows.lock(cycle.id)
        _check_mine(cycle, locked)
        if locked.stage_token != held:
            raise LostRace("Somebody else carries out this stage", cycle_id=cycle.id)
        execution = holder.of(locked)
        failed = sum(one.status == StepStatus.FAILED for one in found)
        done = {"done": len(found), "total": len(found), "failed": failed}
        leases.tell_progress(execution, {**done, "current_step": "", "percent": 100})
        rows.close(locked, CycleStatus.COMPLETED, **changes, **spent.totals(locked))
        got_over.note_failed_steps(execution, found)
        output = result(locked, found)
        measured = spent.measured(locked, execution, found)
        lifecycle.leave_now(
            lifecycle.completion(measured, output=output, outcome=_outcome(locked, found))
        )
        heir = places.hand_over(locked)
    _hand_on(cycle, heir)
    afterwards.note(cycle)


def fail(cycle: Cycle, error: BaseException) -> None:
    """The attempt failed: recovery decides whether there is another; raises LostRace."""
    held = spent.measured(cycle, holder.of(cycle))
    decided = recovery.recover(
        held,
        _with_what_happened(cycle, error),
        rng=_random,
        result=lambda: _result_so_far(cycle),
    )
    is_stopped = isinstance(decided, recovery.Stopped)
    close(cycle, CycleStatus.CANCELLED if is_stopped else CycleStatus.FAILED)


def _with_what_happened(cycle: Cycle, error: BaseException) -> BaseException:
    """Another attempt would make its failed steps again: not if one may have been carried out."""
    if isinstance(error, JobExecutionError) and error.may_repeat is False:
        return error
    names = steps.may_have_happened(cycle.execution_id)
    if not names:
        return error
    known = taxonomy.classify(error)
    which = ", ".join(repr(one) for one in names)
    told = MayHaveHappened(
        f"{known.message}. May have been carried out before that, and is not made twice: {which}",
        error_class=known.error_class,
        may_repeat=False,
    )
    told.context = {**known.context, "may_have_happened": names}
    told.__cause__ = error
    return told


def cancel(cycle: Cycle) -> None:
    """Nothing of it runs any more, and somebody asked for that; raises LostRace."""
    with connections.turn(), transaction.atomic():
        locked = rows.lock(cycle.id)
        _check_mine(cycle, locked)
        held = spent.measured(cycle, holder.of(locked))
        _end_unstarted(locked)
        rows.close(locked, CycleStatus.CANCELLED, **spent.totals(locked))
        lifecycle.stop_now(held)
        heir = places.hand_over(locked)
    _hand_on(cycle, heir)
    afterwards.note(cycle)


def stop(cycle: Cycle) -> None:
    """Nothing of it runs, and it should end: somebody asked for that, or its time is over."""
    if holder.of(cycle).cancel_requested:
        cancel(cycle)
    else:
        over = "The time limit of the execution has passed; raise timeout_ms"
        fail(cycle, DeadlineExceeded(over))


def close(cycle: Cycle, status: CycleStatus) -> None:
    """The execution has ended, or is another attempt's: the cycle goes no further.

    Raises LostRace if another attempt has taken the cycle over.
    """
    with connections.turn(), transaction.atomic():
        locked = rows.lock(cycle.id)
        _check_mine(cycle, locked)
        if leases.held(locked.execution_id, locked.token) is not None:
            raise LostRace("The execution of this cycle goes on", cycle_id=cycle.id)
        has_ended = rows.close(locked, status, **spent.totals(locked))
        if has_ended:
            _end_unstarted(locked)
            # Where the execution was given up without its cycle, it has shown nothing so far.
            lifecycle.add_result(locked.execution_id, lambda: _result_so_far(locked))
        heir = places.hand_over(locked)
    _hand_on(cycle, heir)
    if has_ended:
        afterwards.note(cycle)


def _hand_on(cycle: Cycle, heir: Cycle | None) -> None:
    """The end is committed: it is told, and whoever waited for the place begins."""
    events.announce()
    places.give_back(cycle, heir)


def _check_mine(cycle: Cycle, locked: Cycle) -> None:
    if locked.token != cycle.token:
        raise LostRace("Another attempt goes on with this cycle", cycle_id=cycle.id)


def _end_unstarted(cycle: Cycle) -> None:
    left = Step.objects.filter(execution_id=cycle.execution_id, status__in=UNSTARTED)
    reasons = dict.fromkeys(left.values_list("id", flat=True), OVER)
    telling.end_unstarted(cycle, reasons, status=StepStatus.CANCELLED)


def result(cycle: Cycle, found: Sequence[Step]) -> dict[str, Any]:
    """`ExecutionResults`: what an execution of an agent has to show, in one form."""
    return {
        "summary": cycle.summary,
        "tier": cycle.tier,
        "tier_reason": cycle.tier_reason,
        "strategy": cycle.strategy,
        "notes": cycle.notes,
        "errors": [
            {"step": one.name, "error_class": one.error_class, "message": one.reason}
            for one in found
            if one.status == StepStatus.FAILED
        ],
        "steps": [
            {
                "name": one.name,
                "status": one.status,
                "reason": one.reason,
                "error_class": one.error_class,
                "result": one.result,
            }
            for one in found
        ],
        "tokens": {"prompt": cycle.prompt_tokens, "completion": cycle.completion_tokens},
        "cost_usd": str(cycle.cost_usd),
    }


def _result_so_far(cycle: Cycle) -> dict[str, Any]:
    """The same of one that fails now: what has not begun is not begun any more."""
    found = list(Step.objects.filter(execution_id=cycle.execution_id).order_by("position"))
    for one in found:
        if one.status in UNSTARTED:
            one.status, one.reason = StepStatus.CANCELLED, OVER
    for name, value in spent.totals(cycle).items():
        setattr(cycle, name, value)
    return result(cycle, found)


def _outcome(cycle: Cycle, found: Sequence[Step]) -> Outcome:
    if any(one.status != StepStatus.COMPLETED for one in found):
        return Outcome.PARTIAL
    return Outcome.OK if cycle.tier == Tier.MODEL else Outcome.DEGRADED


def _failure(found: Sequence[Step]) -> StepsFailed | None:
    """Why the execution as a whole failed; None if it did not."""
    failed = [one for one in found if one.status == StepStatus.FAILED]
    if not failed:
        return None
    critical = next((one for one in failed if one.is_critical), None)
    if critical is None and any(one.status == StepStatus.COMPLETED for one in found):
        return None
    first = critical or failed[0]
    may_have_happened = any((one.result or {}).get("may_repeat") is False for one in failed)
    kind = "critical step" if critical else "step"
    return StepsFailed(
        f"The {kind} {first.name!r} failed: {first.reason}",
        error_class=ErrorClass(first.error_class or ErrorClass.UNKNOWN),
        may_repeat=False if may_have_happened else None,
        step=first.name,
        failed=len(failed),
        total=len(found),
    )
