"""Ends attempts that go on after their time limit and do not hear that they should stop.

A process of its own is ended with its attempt, and then others may try. Nobody can end a thread:
its attempt is given up while it may still run, so that nobody begins the work beside it. What it
answers later changes nothing, for its lease is gone.
"""

from __future__ import annotations

import logging
import math
import random
from typing import Final

from django.db import connection

from agents_app.slices import Held, Slice
from config.env import env
from errors_app import recovery
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.ledger import Claimed
from executions_app.states import LostRace

TELL_SECONDS: Final = 0.5  # for an error tracker, before a process ends

logger = logging.getLogger(__name__)
_random = random.SystemRandom()


class StillRuns(HandlerError):
    """The time limit has passed, and the work goes on in a thread that nobody can end."""

    def __init__(self, one: Held, *, worker: str) -> None:
        limit_ms = one.claimed.snapshot["timeout_ms"]
        super().__init__(
            f"The time limit of {limit_ms / 1000:g} s has passed, and the work did not stop: it "
            f"still runs in thread {one.thread!r} of worker {worker!r}. Restart that worker if it "
            "does not end by itself, then requeue this; a handler that calls check() does stop",
            error_class=ErrorClass.TIMEOUT,
            not_before=math.inf,
        )


def record(claimed: Claimed) -> None:
    """The process of this attempt is about to end; never raises."""
    overrun = HandlerError(
        "The time limit has passed, the execution went on, and its process was ended",
        error_class=ErrorClass.TIMEOUT,
        not_before=2 * TELL_SECONDS,  # it is still there, for so long at most
    )
    try:
        recovery.recover(claimed, overrun, rng=_random)
    except Exception:
        logger.exception("The overrun could not be stored; the lease will end")


def give_up(slice_: Slice, *, worker: str) -> None:
    """End the attempts of what runs on in threads LEASE_SECONDS after its grace; never raises.

    Until then what is only slow to stop has time to do it, and is tried again as ever.
    """
    for one in slice_.beyond(env.hard_limit_grace_seconds + env.lease_seconds):
        try:
            recovery.recover(one.claimed, StillRuns(one, worker=worker), rng=_random)
        except LostRace:
            one.cut()
            slice_.forget(one)  # it ended, after all, or somebody has ended its lease
        except Exception as error:  # noqa: BLE001  other slices have to be looked after, too
            logger.warning("The end of #%s could not be stored yet: %s", one.claimed.number, error)
            connection.close()
        else:
            logger.error("Execution #%s does not stop; its attempt is over", one.claimed.number)
            one.cut()
            slice_.forget(one)
