"""Carries out executions: claim, handler, outcome. The middle of their life.

A message names one execution or many short ones; many are claimed together, run one after the
other and stored together. Order matters in `_run_one`: who lost the lease writes nothing, whatever
else happened; only then is an error an error. Nothing may escape, MemoryError and SystemExit of a
handler included.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID, uuid4

from django.db import DataError
from django.utils import timezone

from agents_app import connections, draining, overruns, punctual, storing
from agents_app.context import RunContext
from agents_app.handlers import registry
from agents_app.handlers.base import HandedOver
from agents_app.heartbeat import heartbeat
from agents_app.slices import Held, Slice
from errors_app import recovery, trackers
from errors_app.taxonomy import Cancelled, ErrorClass, HandlerError, LeaseLost
from executions_app import lifecycle, outbox
from executions_app.ledger import Claimed, Leave
from executions_app.states import LostRace
from executions_app.states import Outcome as Recorded

EXIT_HARD_LIMIT: Final = 75  # EX_TEMPFAIL: the pool starts another child

logger = logging.getLogger(__name__)
_random = random.SystemRandom()
_instance: Final = uuid4().hex[:8]


def worker_id() -> str:
    """The unique name of this process: host:pid:instance."""
    return f"{socket.gethostname()}:{os.getpid()}:{_instance}"


class _Process:
    """True in a child of a prefork pool, which runs one execution at a time."""

    is_of_its_own = False


def be_a_process_of_its_own() -> None:
    """What will not stop after its time limit may from now on take this process with it."""
    _Process.is_of_its_own = True


def run(ids: Sequence[UUID], *, on_wait: Callable[[], None] = lambda: None) -> int:
    """Claim the executions that are still queued and carry them out; answers how many.

    `on_wait` is called when all that is left is not to begin yet.
    """
    if draining.is_on():
        leave_to_others(ids)
        return 0
    claimed_at = time.monotonic()
    try:
        claimed = lifecycle.claim(ids, worker_id=worker_id())
    finally:
        connections.let_go()
    carry_out(claimed, claimed_at=claimed_at, on_wait=on_wait)
    return len(claimed)


def leave_to_others(ids: Sequence[UUID]) -> None:
    """Claim nothing: whoever looks after the queues sends these messages again at once."""
    try:
        outbox.unpublish(ids)
    finally:
        connections.let_go()


def claim_apart(ids: Sequence[UUID]) -> list[Claimed]:
    """Claim executions of which each is carried out by itself."""
    try:
        return lifecycle.claim_apart(ids, worker_id=worker_id())
    finally:
        connections.let_go()


def carry_out(
    claimed: Sequence[Claimed],
    *,
    claimed_at: float,
    on_wait: Callable[[], None] = lambda: None,
) -> None:
    """Carry out what was claimed (at `claimed_at`, monotonic), one after the other."""
    slice_ = Slice(claimed, claimed_at=claimed_at)
    if claimed:
        with heartbeat.holding(slice_, _Keeper()):
            _run_all(slice_, on_wait)


def return_unstarted(claimed: Sequence[Claimed]) -> None:
    """Give back what was claimed and will not be begun."""
    if claimed:
        back = [lifecycle.return_unstarted(one) for one in claimed]
        storing.patiently(lambda: lifecycle.leave_all(back))


def _run_all(slice_: Slice, on_wait: Callable[[], None]) -> None:
    if draining.is_on():
        _hand_back(slice_)
    try:
        while (one := _next(slice_, on_wait)) is not None:
            _run_one(slice_, one)
            if slice_.is_to_be_stored:
                _store_outcomes(slice_)
            if draining.is_on():
                _hand_back(slice_)
    finally:
        punctual.has_begun(slice_)
    _store_outcomes(slice_)


def _next(slice_: Slice, on_wait: Callable[[], None]) -> Held | None:
    """The next execution, at its instant; None if there is none, or nothing more is to begin."""
    if (seconds := slice_.seconds_early) > 0:
        punctual.expect(slice_, at=time.monotonic() + seconds)
        on_wait()
        _store_outcomes(slice_)
        if draining.wait(max(0.0, slice_.seconds_early)):
            _hand_back(slice_)
        slice_.begin()
    one = slice_.next()
    if slice_.is_begun and punctual.has_begun(slice_):
        slice_.is_punctual = True
    return one


class _Keeper:
    """Called from the heartbeat, which cannot wait for a database that is away."""

    @staticmethod
    def relieve(slice_: Slice) -> None:
        """Let nobody wait for a slow neighbour: neither the unstarted, nor the ended."""
        if not slice_.storing.acquire(blocking=False):
            return
        try:
            _hand_back(slice_)
            kept = slice_.take_outcomes()
            try:
                _leave_all(kept)
            except BaseException:
                slice_.put_back(kept)
                raise
            for one, _ in kept:
                slice_.forget(one)
        finally:
            slice_.storing.release()

    @staticmethod
    def end(slice_: Slice, deaf: Sequence[Held]) -> None:
        """End the process that nothing else can stop; of a thread only the attempt can be ended."""
        if not _Process.is_of_its_own:
            overruns.give_up(slice_, worker=worker_id())
            return
        for one in deaf:
            logger.error("Execution #%s does not stop; its process ends", one.claimed.number)
            overruns.record(one.claimed)
        trackers.flush(seconds=overruns.TELL_SECONDS)
        os._exit(EXIT_HARD_LIMIT)


def _hand_back(slice_: Slice) -> None:
    for one in slice_.take_unstarted():
        slice_.keep(one, lifecycle.return_unstarted(one.claimed))


def _run_one(slice_: Slice, one: Held) -> None:
    claimed = one.claimed
    try:
        outcome = _carry_out(one)
        if isinstance(outcome, HandedOver):
            one.is_handed_over = True
            slice_.forget(one)
        else:
            slice_.keep(one, outcome)
    except (LostRace, LeaseLost):
        if not one.is_cut:
            logger.warning("Execution #%s belongs to another worker now", claimed.number)
        slice_.forget(one)
    except draining.NotBegun:
        slice_.keep(one, lifecycle.return_unstarted(claimed))
    except Cancelled:
        slice_.keep(one, lifecycle.cancellation(_measured(one)))
    except BaseException as error:  # noqa: BLE001  a handler's MemoryError is its outcome
        if one.is_cut:  # whatever it says: it was told to stop, and `leaving` records that
            slice_.forget(one)
            return
        failure, ended, one.is_ending = error, _measured(one), True
        storing.patiently(lambda: recovery.recover(ended, failure, rng=_random))
        slice_.forget(one)


def _carry_out(one: Held) -> Leave | HandedOver:
    claimed = one.claimed
    task_type = claimed.snapshot["task_type"]
    handler = registry.resolve(task_type)
    config = registry.validate_for(handler, task_type, claimed.snapshot["task_config"])
    context = RunContext(claimed, config, now=timezone.now(), report=lifecycle.report_progress)
    one.start(handler, context)
    context.check()
    began = time.monotonic()
    outcome = handler.run(context)
    if isinstance(outcome, HandedOver):
        return outcome
    ran_ms = (time.monotonic() - began) * 1000 - context.waited_seconds * 1000
    return lifecycle.completion(
        _measured(one),
        output=outcome.output,
        outcome=Recorded(outcome.detail),
        duration_ms=ran_ms,
        began_after_ms=max(0.0, began - claimed.begins_at) * 1000,
    )


def _measured(one: Held) -> Claimed:
    """The execution with what its run took, if it began."""
    usage = one.context.meter.usage() if one.context else None
    return replace(one.claimed, usage=usage)


def _store_outcomes(slice_: Slice) -> None:
    if slice_.is_punctual:
        punctual.let_others_begin()
    with slice_.storing:
        kept = slice_.take_outcomes()
        if kept:
            storing.patiently(lambda: _leave_all(kept))
        for one, _ in kept:
            slice_.forget(one)


def _leave_all(kept: Sequence[tuple[Held, Leave]]) -> None:
    problems = lifecycle.leave_all([move for _, move in kept])
    for (one, move), problem in zip(kept, problems, strict=True):
        if isinstance(problem, DataError):
            _recover_unstorable(replace(one.claimed, usage=move.usage), problem)
        elif problem:
            logger.warning("The lease ended before the outcome was stored; nothing was written")


def _recover_unstorable(claimed: Claimed, error: DataError) -> None:
    unstorable = HandlerError(
        f"The result of execution #{claimed.number} cannot be stored: {error}",
        error_class=ErrorClass.MALFORMED,
    )
    try:
        recovery.recover(claimed, unstorable, rng=_random)
    except LostRace:
        logger.warning("Execution #%s belongs to another worker now", claimed.number)
