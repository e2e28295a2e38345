"""The record of live connections: one row per WebSocket, from its acceptance to its close."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from executions_app import clock, ids
from executions_app.models import WebSocketSession
from executions_app.states import SchedulerException

SILENCE: Final = timedelta(seconds=90)
MOST_PER_USER: Final = 1_000
CLOSED_FOR_SILENCE: Final = 4408


class TooManySessions(SchedulerException):
    """The user has as many open connections as one user may have."""


def create(*, user_id: int, channel: str, client: str) -> WebSocketSession:
    """Record a connection; raises TooManySessions at MOST_PER_USER open ones."""
    is_open = WebSocketSession.objects.filter(user_id=user_id, closed_at__isnull=True)
    if is_open[:MOST_PER_USER].count() >= MOST_PER_USER:
        raise TooManySessions(
            f"User {user_id} has {MOST_PER_USER} open connections; close some of them",
            user_id=user_id,
        )
    now = clock.now()
    return WebSocketSession.objects.create(
        id=ids.new(now),
        user_id=user_id,
        channel=channel,
        client=client,
        connected_at=now,
        last_ping_at=now,
    )


def get(session_id: UUID) -> WebSocketSession:
    """One session, open or closed; raises WebSocketSession.DoesNotExist."""
    return WebSocketSession.objects.get(id=session_id)


def ping(session_id: UUID) -> None:
    """Note a sign of life."""
    _open(session_id).update(last_ping_at=clock.now())


def subscribe(session_id: UUID, subscriptions: Mapping[str, Any]) -> None:
    """Store what the client asked for."""
    _open(session_id).update(subscriptions=dict(subscriptions))


def close(session_id: UUID, *, code: int | None) -> None:
    """Record the end of a connection; the first end counts."""
    _open(session_id).update(closed_at=clock.now(), close_code=code)


def close_stale(now: datetime) -> list[WebSocketSession]:
    """Close every session that was silent for SILENCE; answers those closed by this call."""
    silent = WebSocketSession.objects.filter(
        closed_at__isnull=True, last_ping_at__lt=now - SILENCE
    ).order_by("last_ping_at")
    return [one for one in silent[:1000] if _close_if_silent(one, now)]


def _close_if_silent(session: WebSocketSession, now: datetime) -> bool:
    still_silent = _open(session.id).filter(last_ping_at=session.last_ping_at)
    return bool(still_silent.update(closed_at=now, close_code=CLOSED_FOR_SILENCE))


def _open(session_id: UUID) -> Any:
    return WebSocketSession.objects.filter(id=session_id, closed_at__isnull=True)
