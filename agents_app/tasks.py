"""The one Celery task through which executions reach a worker; messages carry ids only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from celery import shared_task, signals

from agents_app import connections, leaving, runner, shift
from agents_app.backlog import RUN

logger = logging.getLogger(__name__)


@shared_task(name=RUN)
def run_executions(*, execution_ids: Sequence[str], **_: Any) -> None:
    """Run the named executions; a message is a hint, so whatever goes wrong stays in here."""
    leaving.before_a_message()
    try:
        shift.work([UUID(one) for one in execution_ids])
    except BaseException:
        logger.exception("A message could not be carried out; its executions stay as they are")


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
