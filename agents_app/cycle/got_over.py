"""What a cycle got over leaves an error record, and no failure.

A model without a usable answer, and a step that failed where the execution could do without it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from django.db import InterfaceError, OperationalError, transaction

from agents_app import connections
from agents_app.clients.llm_errors import ModelNotConfigured
from agents_app.cycle import rows
from agents_app.models import Cycle
from agents_app.models_cycles import Phase
from agents_app.planning.deciding import NoModel
from agents_app.planning.malformed import MalformedResponseError
from errors_app import recording
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import events, leases
from executions_app.ledger import Claimed
from executions_app.models import Step
from executions_app.states import StepStatus

logger = logging.getLogger(__name__)

NOTE: Final = "The cycle went on without this answer; its tier and notes say how"
WITHOUT_THE_STEP: Final = "It is not tried again; the execution ended without it, as partial"


class StepFailed(HandlerError):
    """A call of the plan failed that the execution could do without."""


@contextmanager
def noted(cycle: Cycle, *, phase: Phase) -> Iterator[dict[str, HandlerError]]:
    """For who asks providers in a phase: what they put in, by provider, is kept.

    Also if nobody had an answer in the end, but not if the execution itself is to end.
    """
    failed: dict[str, HandlerError] = {}
    try:
        yield failed
    except NoModel:
        _keep(cycle, list(failed.values()), phase=phase)
        raise
    _keep(cycle, list(failed.values()), phase=phase)


def note_failed_steps(held: Claimed, found: Sequence[Step]) -> None:
    """In the transaction that completes the execution: a record of each step that failed."""
    for one in found:
        if one.status == StepStatus.FAILED:
            error = StepFailed(
                f"The step {one.name!r} failed: {one.reason}",
                error_class=ErrorClass(one.error_class or ErrorClass.UNKNOWN),
                step=one.name,
            )
            part = f"step {one.name}"
            recording.record_survived(held, error, part=part, note=WITHOUT_THE_STEP)


def _keep(cycle: Cycle, errors: Sequence[HandlerError], *, phase: Phase) -> None:
    """Once per execution and phase; of several that one which answered, but nothing of use.

    That nobody has set up a model is no error. Who does not hold the execution writes nothing.
    """
    told = [one for one in errors if not isinstance(one, ModelNotConfigured)]
    if not told:
        return
    error = next((one for one in told if isinstance(one, MalformedResponseError)), told[0])
    try:
        _record(cycle, error, phase=phase)
    except (OperationalError, InterfaceError) as away:
        logger.warning("What cycle %s got over is not recorded: %s", cycle.id, away)


def _record(cycle: Cycle, error: HandlerError, *, phase: Phase) -> None:
    with connections.turn(), transaction.atomic():
        locked = rows.lock(cycle.id)  # so that one at a time looks whether it is kept already
        held = leases.held(cycle.execution_id, cycle.token)
        if held is not None and locked.token == cycle.token:
            recording.record_survived(held, error, part=phase.value, note=NOTE)
    events.announce()
