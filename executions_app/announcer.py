"""The bell of the live feed: rings the Channels group once for many commits, from any process.

A thread of its own with one event loop and one connection; a lost ring costs nothing, because
readers also look by themselves now and then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from typing import Final

from channels.layers import get_channel_layer

GROUP: Final = "feed"
PAUSE_SECONDS: Final = 0.02

logger = logging.getLogger(__name__)
_wanted = threading.Event()
_start = threading.Lock()
_owner_pid = 0


def ring() -> None:
    """Ask for a ring soon; returns at once. Starts the thread in the process that first rings."""
    global _owner_pid  # noqa: PLW0603  one bell per process, also after a fork
    _wanted.set()
    if _owner_pid != os.getpid():
        with _start:
            if _owner_pid != os.getpid():
                _owner_pid = os.getpid()
                threading.Thread(target=_run, name="announcer", daemon=True).start()


def _run() -> None:
    loop = asyncio.new_event_loop()
    while True:
        _wanted.wait()
        _wanted.clear()
        try:
            loop.run_until_complete(_ring_once())
        except Exception as error:  # noqa: BLE001  the feed is best effort: readers poll as well
            logger.debug("The live feed was not rung: %s", error)
        time.sleep(PAUSE_SECONDS)


async def _ring_once() -> None:
    layer = get_channel_layer()
    async with asyncio.timeout(1):
        await layer.group_send(GROUP, {"type": "feed.rang"})
