"""Housekeeping of the ledger, sent by beat; and how beats and workers write themselves down."""

from __future__ import annotations

import atexit
import logging
from typing import Any, Final

from celery import shared_task, signals
from django.db import Error, connection

from executions_app import clock, live, presence, retention, sessions
from executions_app.models_presence import ProcessKind

CLOSE_STALE_SESSIONS: Final = "cadenza.close_stale_sessions"
APPLY_RETENTION: Final = "cadenza.apply_retention"

logger = logging.getLogger(__name__)


@shared_task(name=CLOSE_STALE_SESSIONS)
def close_stale_sessions(**_: Any) -> None:
    """Close the sessions whose clients fell silent, also those of a web process that died."""
    for session in sessions.close_stale(clock.now()):
        logger.info("Session %s was silent and is closed", session.id)
        live.hang_up(session, code=sessions.CLOSED_FOR_SILENCE)


@shared_task(name=APPLY_RETENTION)
def apply_retention(**_: Any) -> None:
    """Let go what is past its time."""
    cleared = retention.apply(clock.now())
    for rows, number in cleared.rows.items():
        logger.info("%s rows of %s were past their time and are deleted", number, rows)


@signals.beat_init.connect
def beat_begins(**_: Any) -> None:
    """A beat has no signal of its end; a signal of the system may come in the midst of a query."""
    presence.keeper.begin(ProcessKind.BEAT)
    atexit.register(beat_ends)


def beat_ends() -> None:
    connection.close()
    end_presence()


@signals.worker_ready.connect
def worker_begins(sender: Any, **_: Any) -> None:
    """Also sent when a worker has found its broker again."""
    queues = sender.app.amqp.queues.consume_from
    presence.keeper.begin(ProcessKind.WORKER, name=sender.hostname, queues=queues)


@signals.worker_shutting_down.connect
def worker_is_to_stop(**_: Any) -> None:
    """Sent from a signal handler: no query here."""
    presence.keeper.is_to_stop()


@signals.worker_shutdown.connect
def end_presence(**_: Any) -> None:
    """A process that cannot say that it ends ends all the same, and is taken for gone."""
    try:
        presence.keeper.end()
    except Error as error:
        logger.warning("This process could not write down that it ends: %s", error)
