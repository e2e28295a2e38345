"""How what happened to an execution or a step becomes durable although the database is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from django.db import InterfaceError, OperationalError, connection

from agents_app import connections
from executions_app.states import LostRace

FOR_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


def patiently(write: Callable[[], Any]) -> None:
    """Make an outcome durable, waiting out a short absence of the database.

    What cannot be stored in time is left to its lease: it is tried again.
    """
    ends = time.monotonic() + FOR_SECONDS
    while True:
        try:
            write()
        except LostRace:
            logger.warning("The lease ended before the outcome was stored; nothing was written")
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() < ends:
                logger.warning("The outcome could not be stored yet: %s", error)
                time.sleep(PAUSE_SECONDS)
                continue
            logger.exception("The outcome could not be stored; the lease will end")
        except Exception:
            logger.exception("The outcome could not be stored; the lease will end")
        connections.let_go()  # nobody holds one while user code, the network or a process goes on
        return
