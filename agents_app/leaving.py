"""How a worker ends: what runs may end until the limit; then its leases go back, at once.

Celery itself waits for running work without end, and its children never hear of it. So a thread
beside the pool keeps the time, in the worker and in each of its children: first everything that
has not begun goes back, unharmed; after DRAIN_SECONDS the rest is told to stop and its attempt
counts as lost, so that others try it without waiting for the lease to end.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any, Final

import psutil
from celery.signals import (
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
)
from django.db import connection

from agents_app import draining
from agents_app.cycle.keeping import keeper
from agents_app.heartbeat import heartbeat
from agents_app.slices import Held, Slice
from config.env import env
from errors_app import recovery, trackers
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import tasks
from executions_app.ledger import Claimed
from executions_app.states import LostRace

HEAR_SECONDS: Final = 2.5  # for what was told to stop: a program gets two of them
RECORD_SECONDS: Final = 3.0
GO_SECONDS: Final = 0.5  # for Celery to end by itself once nothing runs
ALL_SECONDS: Final = HEAR_SECONDS + RECORD_SECONDS + 2 * GO_SECONDS
POLL_SECONDS: Final = 0.02
MOST_AT_ONCE: Final = 8
OF_A_CHILD: Final = signal.SIGUSR2  # the pool keeps SIGTERM and SIGQUIT for itself
# Another one, because a signal that comes twice before it is heard is heard once.
AT_ONCE: Final = signal.SIGURG

logger = logging.getLogger(__name__)
_random = random.SystemRandom()


class WorkerStopped(HandlerError):
    """The worker was told to stop, and the execution did not end within DRAIN_SECONDS.

    `may_run_on`: it did not hear, so that its next attempt has to wait until this process is gone.
    """

    def __init__(self, *, may_run_on: bool = False) -> None:
        super().__init__(
            f"The worker was stopped, and {env.drain_seconds:g} s later the execution still ran",
            error_class=ErrorClass.LOST,
            not_before=ALL_SECONDS if may_run_on else None,
        )


class _Process:
    """What this process was told so far, and the pool that it runs, if any."""

    times_asked = 0
    is_leaving = False
    pool: Any = None
    ignores_sigterm = False
    at_once: Final = threading.Event()
    lets_go: Final = threading.Event()
    let_go: Final = threading.Event()


def ask(*_: object) -> None:
    """Somebody wants this process to end; asked once more, it ends without waiting.

    Called in signal handlers: whatever takes a lock is left to another thread.
    """
    _Process.times_asked += 1
    if not _Process.is_leaving:  # one signal may interrupt the other's count
        _Process.is_leaving = True
        threading.Thread(target=_leave, name="leaving", daemon=True).start()
    if _Process.times_asked > 1:
        threading.Thread(target=_hurry, name="hurrying", daemon=True).start()


def ask_for_an_end_at_once(*_: object) -> None:
    """The worker was asked once more; it may be heard before, or instead of, the first time."""
    if not _Process.times_asked:
        ask()
    ask()


@worker_ready.connect
def listen(sender: Any, **_: Any) -> None:
    """A worker is ready: Ctrl-C and a supervisor ask the same of it; SIGQUIT does not wait."""
    _Process.pool = sender.pool
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
    signal.signal(signal.SIGQUIT, _quit)


@worker_process_init.connect
def listen_to_the_worker(**_: Any) -> None:
    """A child of a prefork pool begins: it hears of its worker when to end, of nobody else.

    SIGTERM reaches children, too, where a whole group or control group is told to stop.
    """
    _Process.pool = None
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # any other handler is replaced by the pool's own
    _Process.ignores_sigterm = True
    signal.signal(OF_A_CHILD, ask)
    signal.signal(AT_ONCE, ask_for_an_end_at_once)


def before_a_message() -> None:
    """What is ignored would be ignored by the programs of this child, too; what is heard is not."""
    if _Process.ignores_sigterm:
        _Process.ignores_sigterm = False
        signal.signal(signal.SIGTERM, _leave_it_to_the_worker)


def _leave_it_to_the_worker(_number: int, _frame: object) -> None:
    pass


def _quit(number: int, frame: object) -> None:
    stop: Any = signal.getsignal(signal.SIGTERM)
    stop(number, frame)
    ask()


@worker_shutdown.connect
@worker_process_shutdown.connect
def stay(**_: Any) -> None:
    """Nothing runs any more: do not end before what was cut short is given back."""
    if _Process.lets_go.is_set():
        _Process.let_go.wait(RECORD_SECONDS)


def _leave() -> None:
    ends = time.monotonic() + env.drain_seconds
    draining.begin()
    _tell_children(OF_A_CHILD)
    heartbeat.relieve_all()
    _Process.at_once.wait(max(0.0, ends - time.monotonic()))
    _Process.lets_go.set()
    try:
        let_go()
    finally:
        _Process.let_go.set()
        _end_now()


def _hurry() -> None:
    _tell_children(AT_ONCE)
    _Process.at_once.set()


def let_go() -> None:
    """End whatever this process still runs and give its leases back."""
    left = heartbeat.cut()
    cut = keeper.cut()  # stages and steps of cycles give themselves back
    began = time.monotonic()
    with_others: list[futures.Future[None]] = []
    recorders = futures.ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="leaving")
    while (left or keeper.holds(cut)) and time.monotonic() - began < HEAR_SECONDS:
        gone = [one for slice_, one in left if not (slice_.holds(one) or one.is_handed_over)]
        left = [pair for pair in left if pair[0].holds(pair[1])]
        with_others += [recorders.submit(_record, one.claimed) for one in gone]
        time.sleep(POLL_SECONDS)
    deaf = _deaf(left)
    with_others += [recorders.submit(_record, one.claimed, may_run_on=True) for one in deaf]
    futures.wait(with_others, timeout=RECORD_SECONDS)
    recorders.shutdown(wait=False)


def _deaf(left: Sequence[tuple[Slice, Held]]) -> list[Held]:
    """What did not hear; an outcome that is being stored meanwhile stays one."""
    return [one for _, one in left if not one.is_ending]


def _record(claimed: Claimed, *, may_run_on: bool = False) -> None:
    try:
        recovery.recover(claimed, WorkerStopped(may_run_on=may_run_on), rng=_random)
        logger.warning("Execution #%s goes to another worker: this one ends", claimed.number)
    except LostRace:
        pass  # it ended, after all
    except Exception:
        logger.exception("Execution #%s could not be given back; its lease ends", claimed.number)
    finally:
        connection.close()


def _children() -> list[int]:
    """The processes of a prefork pool that live; other children are programs of executions."""
    pool = getattr(_Process.pool, "_pool", None)
    return [one.pid for one in list(getattr(pool, "_pool", None) or ()) if _lives(one.pid)]


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _tell_children(number: signal.Signals) -> None:
    for pid in _children():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _end_now() -> None:
    """Nothing holds this process any more; children keep the same time, and began a bit later."""
    ends = time.monotonic() + ALL_SECONDS
    while _children() and time.monotonic() < ends:
        time.sleep(POLL_SECONDS)
    time.sleep(GO_SECONDS)
    _tell_children(signal.SIGKILL)
    logger.warning("This process ends, whatever of it does not hear that it should stop")
    said = threading.Thread(target=tasks.end_presence, daemon=True)
    if _Process.pool is not None:
        said.start()
    ends = time.monotonic() + GO_SECONDS
    trackers.flush(seconds=GO_SECONDS)
    if _Process.pool is not None:
        said.join(max(0.0, ends - time.monotonic()))
    logging.shutdown()
    os._exit(os.EX_OK)
