"""Carries out one execution: claim, handler, outcome. The middle of its life.

Order matters in `_run_one`: who lost the lease writes nothing, whatever else happened; only then
is an error an error. Nothing may escape, MemoryError and SystemExit of a handler included.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import DataError, InterfaceError, OperationalError, connection
from django.utils import timezone

from agents_app.context import RunContext
from agents_app.handlers import registry
from agents_app.handlers.base import Handler, Outcome
from agents_app.heartbeat import heartbeat
from errors_app import recovery
from errors_app.taxonomy import Cancelled, ErrorClass, HandlerError, LeaseLost
from executions_app import lifecycle
from executions_app.ledger import Claimed
from executions_app.states import LostRace
from executions_app.states import Outcome as Recorded

STORE_FOR_SECONDS: Final = 60.0
STORE_PAUSE_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)
_random = random.SystemRandom()
_instance: Final = uuid4().hex[:8]


def worker_id() -> str:
    """The unique name of this process: host:pid:instance."""
    return f"{socket.gethostname()}:{os.getpid()}:{_instance}"


def run(ids: Sequence[UUID]) -> int:
    """Claim the executions that are still queued and carry them out; answers how many."""
    claimed_at = time.monotonic()
    claimed = lifecycle.claim(ids, worker_id=worker_id())
    for one in claimed:
        _run_one(one, claimed_at=claimed_at)
    return len(claimed)


def _run_one(claimed: Claimed, *, claimed_at: float) -> None:
    try:
        outcome = _carry_out(claimed, claimed_at=claimed_at)
    except (LostRace, LeaseLost):
        logger.warning("Execution #%s belongs to another worker now", claimed.number)
    except Cancelled:
        _store(lambda: lifecycle.cancelled(claimed))
    except BaseException as error:  # noqa: BLE001  a handler's MemoryError is its outcome
        failure = error
        _store(lambda: recovery.recover(claimed, failure, rng=_random))
    else:
        _store(lambda: _complete(claimed, outcome))


def _complete(claimed: Claimed, outcome: Outcome) -> None:
    try:
        lifecycle.complete(claimed, output=outcome.output, outcome=Recorded(outcome.detail))
    except DataError as error:
        unstorable = HandlerError(
            f"The result of execution #{claimed.number} cannot be stored: {error}",
            error_class=ErrorClass.MALFORMED,
        )
        recovery.recover(claimed, unstorable, rng=_random)


def _carry_out(claimed: Claimed, *, claimed_at: float) -> Outcome:
    handler, context = _prepare(claimed)
    with heartbeat.holding(context, handler, claimed_at=claimed_at):
        connection.close()  # none is held while user code, the network or a process is waited for
        context.check()
        return handler.run(context)


def _prepare(claimed: Claimed) -> tuple[Handler[Any], RunContext[Any]]:
    task_type = claimed.snapshot["task_type"]
    handler = registry.resolve(task_type)
    config = registry.validate(task_type, claimed.snapshot["task_config"])
    context = RunContext(claimed, config, now=timezone.now(), report=lifecycle.report_progress)
    context.is_cancelled = claimed.cancel_requested
    return handler, context


def _store(write: Callable[[], Any]) -> None:
    """Make an outcome durable, waiting out a short absence of the database.

    What cannot be stored in time is left to its lease: the rescuer tries the execution again.
    """
    ends = time.monotonic() + STORE_FOR_SECONDS
    while True:
        try:
            write()
        except LostRace:
            logger.warning("The lease ended before the outcome was stored; nothing was written")
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() < ends:
                logger.warning("The outcome could not be stored yet: %s", error)
                time.sleep(STORE_PAUSE_SECONDS)
                continue
            logger.exception("The outcome could not be stored; the lease will end")
        except Exception:
            logger.exception("The outcome could not be stored; the lease will end")
        return
