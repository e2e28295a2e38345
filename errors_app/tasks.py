"""Where beats and workers begin to watch over executions, and end it."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals
from django.db import Error

from errors_app.alerting.watch import watch

logger = logging.getLogger(__name__)


@signals.beat_init.connect
@signals.worker_ready.connect
def begin_to_watch(**_: Any) -> None:
    """Also sent when a worker has found its broker again."""
    watch.begin()


@signals.worker_shutting_down.connect
def watch_no_more(**_: Any) -> None:
    """A process that is to stop leaves it to the others."""
    watch.end()


@signals.worker_shutdown.connect
def write_down_the_last(**_: Any) -> None:
    """What cannot be written down is sent again by another process."""
    try:
        watch.finish()
    except Error as error:
        logger.warning("What became of the last notices could not be written down: %s", error)
