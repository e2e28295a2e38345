"""The canvas of a cycle: what Celery is asked to do next, a wave of steps as a group with a chord.

A message is a hint. Rows say what has happened, and whoever ends the last step of a wave goes on by
itself; the body of a chord and the watchdog only look whether somebody did. So what Redis loses
costs time, never a cycle.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import redis
from celery import Task, chord, current_app, group
from kombu.exceptions import OperationalError

from agents_app.models import Cycle

STAGE: Final = "cadenza.cycle_stage"
STEP: Final = "cadenza.cycle_step"
WAVE: Final = "cadenza.cycle_wave"
PAUSE_AFTER_FAILURE_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


def stage(cycle: Cycle) -> None:
    """Have somebody carry out the stage that the cycle stands at."""
    _send(_task(STAGE).si(cycle_id=str(cycle.id)), cycle.queue)


def wave(cycle: Cycle, step_ids: Sequence[UUID]) -> None:
    """Have somebody carry out these steps, and look at the wave once all of them have ended."""
    header = [_task(STEP).si(cycle_id=str(cycle.id), step_id=str(one)) for one in step_ids]
    for one in header:
        one.set(queue=cycle.queue)
    if len(header) == 1:
        _send(header[0], cycle.queue)
    elif header:
        body = _task(WAVE).si(cycle_id=str(cycle.id)).set(queue=cycle.queue)
        _send(chord(group(header), body), cycle.queue)


def _task(name: str) -> Task[Any, Any]:
    return current_app.tasks[name]


class _Patience:
    """After a failure the broker is left alone for a moment, so that nobody waits for each send."""

    until = float("-inf")


def _send(signature: Any, queue: str) -> None:
    if time.monotonic() < _Patience.until:
        return
    try:
        signature.apply_async(queue=queue)
    except (OSError, redis.RedisError, OperationalError) as error:
        _Patience.until = time.monotonic() + PAUSE_AFTER_FAILURE_SECONDS
        logger.warning("A message of a cycle was not sent; the watchdog sends it again: %s", error)
    except Exception:  # a message is a hint: whatever is wrong with it, what is decided stands
        logger.exception("A message of a cycle was not sent; the watchdog sends it again")
