"""Handlers that do on purpose what handlers of other people do by accident."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import psutil
from pydantic import BaseModel, ConfigDict

from agents_app.handlers.base import Context, Handler, Outcome
from errors_app.taxonomy import ErrorClass, HandlerError

PAUSE_SECONDS: Final = 0.02
HUGE_BYTES: Final = 2 * 1024**3
ROOM_BYTES: Final = 256 * 1024**2
OUTCOME_OF_OTHERS: Final[Any] = threading.Lock
Raised = Literal["memory", "allocation", "exit", "interrupt", "recursion", "no_text"]
Poison = Raised | Literal["", "os_exit", "segfault", "unstorable", "unpicklable", "huge", "deaf"]


class ActConfig(BaseModel):
    """What the run does, in this order; the default does nothing and answers "done".

    `dies_once`: a file; the run that finds it missing makes it and kills its worker. `fails`:
    attempts that raise `error_class`. `poison`: what every run raises or answers. `until`: a file
    it waits for. `steps`: progress reports of the time it takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dies_once: str = ""
    fails: int = 0
    error_class: ErrorClass = ErrorClass.TRANSIENT
    poison: Poison = ""
    until: str = ""
    seconds: float = 0.0
    steps: int = 0


class Act(Handler[ActConfig]):
    """Writes down in the journal when it begins and ends, whatever the tables will say."""

    config_model = ActConfig
    nature = "io"

    def run(self, context: Context[ActConfig]) -> Outcome:
        note(context, "began")
        ending = "raised"
        try:
            outcome = self._act(context)
            ending = "ended"
        finally:
            note(context, ending)
        return outcome

    def _act(self, context: Context[ActConfig]) -> Outcome:
        config = context.config
        if config.dies_once and not Path(config.dies_once).exists():
            Path(config.dies_once).touch()
            os._exit(9)
        if context.attempt <= config.fails:
            raise HandlerError("It failed as it was told to", error_class=config.error_class)
        if config.poison:
            return POISONS[config.poison](context)
        while config.until and not Path(config.until).exists():
            context.check()
            time.sleep(PAUSE_SECONDS)
        self._take_time(context)
        return Outcome(output="done")

    @staticmethod
    def _take_time(context: Context[ActConfig]) -> None:
        config, began = context.config, time.monotonic()
        for step in range(1, max(1, config.steps) + 1):
            while time.monotonic() - began < config.seconds * step / max(1, config.steps):
                context.check()
                time.sleep(PAUSE_SECONDS)
            if config.steps:
                context.progress(step, config.steps, step=f"step {step}")


def _memory(_: Context[ActConfig]) -> Outcome:
    raise MemoryError("no more of it")


def _allocation(_: Context[ActConfig]) -> Outcome:
    """2 GB where there is room for an eighth of it, as in a container with a limit."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    room = psutil.Process().memory_info().vms + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (room, before[1]))
    try:
        return Outcome(output=len(bytearray(HUGE_BYTES)))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _unpicklable(_: Context[ActConfig]) -> Outcome:
    return Outcome(output=OUTCOME_OF_OTHERS())


def _no_text(_: Context[ActConfig]) -> Outcome:
    raise RuntimeError("\udcff\udc80 \x00 \ud800" + b"\xff\xfe".decode("utf-8", "surrogateescape"))


def _interrupt(_: Context[ActConfig]) -> Outcome:
    raise KeyboardInterrupt


def _exit(_: Context[ActConfig]) -> Outcome:
    sys.exit(3)


def _recursion(context: Context[ActConfig]) -> Outcome:
    return _recursion(context)


def _os_exit(_: Context[ActConfig]) -> Outcome:
    os._exit(7)


def _segfault(_: Context[ActConfig]) -> Outcome:
    ctypes.string_at(0)
    raise AssertionError


def _deaf(_: Context[ActConfig]) -> Outcome:
    while True:
        time.sleep(PAUSE_SECONDS)


def _unstorable(_: Context[ActConfig]) -> Outcome:
    return Outcome(output={"nul": "a\x00b", "surrogate": "\ud800", "nan": float("nan")})


def _huge(_: Context[ActConfig]) -> Outcome:
    return Outcome(output=["x" * 1_000] * 5_000)


POISONS: Final[Mapping[str, Callable[[Context[ActConfig]], Outcome]]] = {
    "memory": _memory,
    "allocation": _allocation,
    "unpicklable": _unpicklable,
    "no_text": _no_text,
    "interrupt": _interrupt,
    "exit": _exit,
    "recursion": _recursion,
    "os_exit": _os_exit,
    "segfault": _segfault,
    "unstorable": _unstorable,
    "huge": _huge,
    "deaf": _deaf,
}


def note(context: Context[Any], what: str) -> None:
    """One line, appended with a single write, so that a kill never tears another's."""
    entry = {
        "execution": str(context.execution_id),
        "attempt": context.attempt,
        "what": what,
        "pid": os.getpid(),
        "at": time.time(),
    }
    file = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(file)
