"""Housekeeping of the ledger, sent by beat."""

from __future__ import annotations

import logging
from typing import Any, Final

from celery import shared_task

from executions_app import clock, live, sessions

CLOSE_STALE_SESSIONS: Final = "cadenza.close_stale_sessions"

logger = logging.getLogger(__name__)


@shared_task(name=CLOSE_STALE_SESSIONS)
def close_stale_sessions(**_: Any) -> None:
    """Close the sessions whose clients fell silent, also those of a web process that died."""
    for session in sessions.close_stale(clock.now()):
        logger.info("Session %s was silent and is closed", session.id)
        live.hang_up(session, code=sessions.CLOSED_FOR_SILENCE)
