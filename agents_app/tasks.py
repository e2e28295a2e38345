"""The one Celery task through which executions reach a worker; messages carry ids only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from celery import shared_task

from agents_app import runner

RUN: Final = "cadenza.run"

logger = logging.getLogger(__name__)


@shared_task(name=RUN)
def run_executions(*, execution_ids: Sequence[str], **_: Any) -> None:
    """Run the named executions; a message is a hint, so whatever goes wrong stays in here."""
    try:
        runner.run([UUID(one) for one in execution_ids])
    except BaseException:
        logger.exception("A message could not be carried out; its executions stay as they are")
