"""Speaking to connected clients from any process: notices now, events for good.

An event goes through its table and reaches every subscriber, also one that is away for a moment;
a notice is a word over Redis to whoever is connected, and may be lost. Neither is for hot paths:
`lifecycle` writes its events with the rows they tell of.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any, Final, Literal
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

from executions_app import events, sessions
from executions_app.announcer import GROUP
from executions_app.events import NewEvent
from executions_app.models import WebSocketSession

SEND_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


def broadcast(message: Mapping[str, Any]) -> bool:
    """Send a notice to every connection; False if Redis did not take it."""
    return _send("group_send", GROUP, {"type": "feed.notice", "text": _text(message)})


def send_to_session(session_id: UUID, message: Mapping[str, Any]) -> bool:
    """Send a notice to one connection; False if it is closed or Redis did not take it."""
    session = sessions.get(session_id)
    if session.closed_at is not None:
        return False
    addressed = {"type": "feed.notice", "text": _text(message), "session_id": str(session_id)}
    return _send("send", session.channel, addressed)


def send_to_subscribers(event: NewEvent) -> None:
    """Record an event and let everybody have it who asked for such events and may see it."""
    with transaction.atomic():
        events.emit([event])
        transaction.on_commit(events.announce)


def hang_up(session: WebSocketSession, *, code: int) -> bool:
    """Have the connection of a session closed; False if Redis did not take it."""
    message = {"type": "feed.hang_up", "code": code, "session_id": str(session.id)}
    return _send("send", session.channel, message)


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, default=str)


def _send(verb: Literal["send", "group_send"], where: str, message: dict[str, Any]) -> bool:
    try:
        async_to_sync(_deliver)(verb, where, message)
    except (RedisError, OSError) as error:
        logger.warning("A live message was not sent: %s", error)
        return False
    return True


async def _deliver(verb: str, where: str, message: dict[str, Any]) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await getattr(get_channel_layer(), verb)(where, message)
