"""The Celery tasks through which executions and cycles reach a worker; messages carry ids only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from celery import shared_task, signals

from agents_app import connections, leaving, runner, shift
from agents_app.backlog import RUN
from agents_app.cycle import canvas, going_on, running, stages
from executions_app.states import LostRace

logger = logging.getLogger(__name__)


@shared_task(name=RUN)
def run_executions(*, execution_ids: Sequence[str], **_: Any) -> None:
    """Run the named executions; a message is a hint, so whatever goes wrong stays in here."""
    leaving.before_a_message()
    try:
        shift.work([UUID(one) for one in execution_ids])
    except BaseException:
        logger.exception("A message could not be carried out; its executions stay as they are")


@shared_task(name=canvas.STAGE)
def carry_out_stage(*, cycle_id: str, **_: Any) -> None:
    """Plan, summarise or schedule: whatever the cycle stands at."""
    _safely(lambda: stages.run_stage(UUID(cycle_id)))


@shared_task(name=canvas.STEP, ignore_result=False)
def carry_out_step(*, cycle_id: str, step_id: str, **_: Any) -> None:
    """One call of a plan; its result is in its row, and the chord learns only that it is over."""
    _safely(lambda: running.run_step(UUID(cycle_id), UUID(step_id)))


@shared_task(name=canvas.WAVE)
def look_at_wave(*, cycle_id: str, **_: Any) -> None:
    """All that was sent together is over: go on, if nobody did."""
    _safely(lambda: going_on.look(UUID(cycle_id)))


def _safely(carry_out: Callable[[], None]) -> None:
    leaving.before_a_message()
    try:
        carry_out()
    except LostRace:
        return
    except BaseException:
        logger.exception("A message of a cycle could not be carried out; its rows stay as they are")


@signals.task_postrun.connect
def look_at_the_connection(**_: Any) -> None:
    """After every message, of whichever task: Celery itself was told to leave connections alone."""
    connections.after_message()


@signals.worker_process_init.connect
def know_the_shape(**_: Any) -> None:
    """A child of a prefork pool begins."""
    runner.be_a_process_of_its_own()


@signals.worker_shutting_down.connect
def leave(**_: Any) -> None:
    """SIGTERM or SIGINT reached a worker; Celery itself takes no more messages."""
    leaving.ask()
