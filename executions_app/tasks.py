"""Housekeeping of the ledger, sent by beat."""

from __future__ import annotations

import logging
from typing import Any, Final

from celery import shared_task

from executions_app import clock, live, retention, sessions

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
