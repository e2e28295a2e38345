"""Carries out one step of a cycle: claim, call, end. What `runner` is for executions.

A header task never raises: whatever happens to a call is the end of its step, and what happens to
the worker is found by the watchdog.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import transaction

from agents_app import connections, draining, runner, storing
from agents_app.cycle import calls, canvas, ending, going_on, rows, stages, telling
from agents_app.cycle.keeping import Work, keeper
from agents_app.models import Cycle, CycleStage, CycleStatus
from errors_app import taxonomy
from errors_app.taxonomy import Cancelled, LeaseLost
from executions_app import events, steps
from executions_app.states import LostRace, StepStatus
from executions_app.steps import End, HeldStep

logger = logging.getLogger(__name__)


def run_step(cycle_id: UUID, step_id: UUID) -> None:
    """Carry out a queued step; nothing happens if it is not to be begun (any more)."""
    if draining.is_on():
        canvas.wave(rows.find(cycle_id), [step_id])  # for another worker
        connections.let_go()
        return
    try:
        taken = _claim(cycle_id, step_id)
    finally:
        connections.let_go()
    if taken is None:
        return
    cycle, held = taken
    work = Work(
        held.id,
        held.lease_token,
        execution_id=cycle.execution_id,
        deadline=cycle.deadline,
        is_stage=False,
    )
    followed: list[going_on.Follow] = []
    with keeper.holding(work):
        try:
            end = replace(_end_of(lambda: calls.make(cycle, held, work)), usage=work.took())
        except LeaseLost:
            _give_up(cycle, held, work)
            return
        storing.patiently(lambda: followed.append(_finish(cycle.id, held, end)))
    # Whoever ends the last step goes on with the next stage: nobody has to be told of it.
    if any(one.has_stage for one in followed):
        stages.run_stage(cycle.id)


def _claim(cycle_id: UUID, step_id: UUID) -> tuple[Cycle, HeldStep] | None:
    with connections.turn(), transaction.atomic():
        cycle = rows.share(cycle_id)
        if cycle.status != CycleStatus.RUNNING or cycle.stage != CycleStage.EXECUTE:
            return None
        held = steps.claim(step_id, cycle_token=cycle.token, worker_id=runner.worker_id())
        if held is None:
            return None
        events.emit([telling.of(held, "step:started", cycle=cycle)])
    events.announce()
    return cycle, held


def _end_of(call: Callable[[], steps.End]) -> End:
    try:
        return call()
    except LeaseLost:
        raise
    except Cancelled:
        return End(StepStatus.CANCELLED, reason="cancelled")
    except BaseException as error:  # noqa: BLE001  a tool's MemoryError is the end of its step
        failure = taxonomy.classify(error)
        return End(
            StepStatus.FAILED,
            result={
                "error": failure.message,
                "may_repeat": failure.may_repeat,
                **failure.context,
            },
            reason=failure.message,
            error_class=failure.error_class,
        )


def _give_up(cycle: Cycle, held: HeldStep, work: Work) -> None:
    """This worker ends, or has lost the lease: others carry the step out."""
    if not work.is_cut:
        logger.warning("Step %s of cycle %s belongs to another worker now", held.name, cycle.id)
        return

    def back() -> None:
        with transaction.atomic():
            locked = rows.lock(cycle.id)
            if locked.status != CycleStatus.RUNNING or must_not_repeat(held.config):
                return  # its lease ends, and the watchdog says how
            steps.hand_back(held.id, held.lease_token, reason="its worker was stopped")
        canvas.wave(cycle, [held.id])

    storing.patiently(back)


def must_not_repeat(config: Mapping[str, Any]) -> bool:
    """Whether a person said of the endpoint that what may have begun is not begun again."""
    retry = (config.get("endpoint") or {}).get("retry") or {}
    return retry.get("idempotent") is False


def _finish(cycle_id: UUID, held: HeldStep, end: End) -> going_on.Follow:
    with connections.turn(), transaction.atomic():
        cycle = rows.lock(cycle_id)
        steps.finish(held, end)
        events.emit([telling.of(held, f"step:{end.status}", cycle=cycle, reason=end.reason)])
        follow = going_on.after(cycle)
    events.announce()
    going_on.send(cycle, replace(follow, has_stage=False))
    if follow.is_to_end:
        with suppress(LostRace):
            ending.cancel(cycle)
    return follow
