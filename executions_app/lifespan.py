"""How a web process, which shows executions, begins and ends: ASGI's lifespan protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.db import Error, connection

from executions_app import presence
from executions_app.models_presence import ProcessKind

Message = MutableMapping[str, Any]

logger = logging.getLogger(__name__)


async def lifespan(
    _scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]
) -> None:
    """Write the process down while it takes requests; it takes them also when that fails."""
    await receive()
    presence.keeper.begin(ProcessKind.WEB)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.to_thread(_end)
    await send({"type": "lifespan.shutdown.complete"})


def _end() -> None:
    try:
        presence.keeper.end()
    except Error as error:
        logger.warning("This process could not write down that it ends: %s", error)
    finally:
        connection.close()  # of this thread, which ends, too
