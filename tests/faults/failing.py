"""A beat that ends without a word between any two statements of its round, and nowhere else.

Run by `celery beat -S tests.faults.failing.FailingScheduler`. Each life draws one point of the
round and an instant from FAILING_SEED and the deaths before it; the first time it comes to that
point after that instant, it writes one line to FAILING_LOG and is gone. Nothing of the product is
changed: its functions are wrapped here, in this process only.
"""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

from django.db import connection

from executions_app import prepared
from executions_app.outbox import Message
from scheduler_app import beat, careful, consequences, dispatcher, due, firing, sending
from scheduler_app.beat import CadenzaScheduler
from scheduler_app.sources import dependents, internal

P = ParamSpec("P")
R = TypeVar("R")

MOMENTS: Final = ("taken", "written", "committed", "half sent")
PASSAGES: Final = (
    "firing",
    "releasing",
    "releasing held",
    "drawing",
    "starting dependents",
    "hearing",
    "keeping house",
)
POINTS: Final = (*MOMENTS, *PASSAGES)
MOST_STATEMENTS: Final = 12
PATIENCE_SECONDS: Final = 5.0  # then another point is drawn: nothing comes to this one
EXIT_CODE: Final = 86


class Fate:
    """Where and when this process ends."""

    def __init__(self) -> None:
        self._log = Path(os.environ["FAILING_LOG"])
        shortest, longest = map(float, os.environ["FAILING_SECONDS"].split("-"))
        self._points = os.environ.get("FAILING_POINTS", ",".join(POINTS)).split(",")
        self._chance = random.Random(f"{os.environ['FAILING_SEED']} {self._deaths()}")
        self._at = float("inf")
        self._life = self._chance.uniform(shortest, longest)
        self._inside: list[str] = []
        self._draw()

    def begin(self) -> None:
        """From now on its life is counted."""
        self._at = time.monotonic() + self._life

    def come_to(self, point: str) -> None:
        """The process stands at this moment."""
        if self.is_here(point):
            self.die(point)

    def is_here(self, point: str) -> bool:
        return point == self._point and time.monotonic() >= self._at

    def end_statement(self, sql: str) -> None:
        """A statement was executed: one of a passage that is to be left off in its middle?"""
        if time.monotonic() > self._at + PATIENCE_SECONDS:
            self._at = time.monotonic()
            self._draw()
        if any(self.is_here(one) for one in self._inside):
            self._statements -= 1
            if self._statements <= 0:
                self.die(f"{self._point}, after {' '.join(sql.split())[:60]}")

    @contextmanager
    def passing(self, passage: str) -> Iterator[None]:
        self._inside.append(passage)
        try:
            yield
            self.end_statement("the end")
        finally:
            self._inside.pop()

    def die(self, where: str) -> NoReturn:
        file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(file, f"{where}\n".encode())
        os._exit(EXIT_CODE)

    def _draw(self) -> None:
        self._point = self._chance.choice(self._points)
        self._statements = self._chance.randint(1, MOST_STATEMENTS)

    def _deaths(self) -> int:
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0


fate: Final = Fate()


def after(moment: str, wrapped: Callable[P, R]) -> Callable[P, R]:
    """The same function; the process may end when it has done something."""

    @functools.wraps(wrapped)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        answer = wrapped(*args, **kwargs)
        if answer:
            fate.come_to(moment)
        return answer

    return wrapper


def within(passage: str, wrapped: Callable[P, R]) -> Callable[P, R]:
    """The same function; the process may end after any of its statements."""

    @functools.wraps(wrapped)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with fate.passing(passage):
            return wrapped(*args, **kwargs)

    return wrapper


def statement(wrapped: Callable[..., R]) -> Callable[..., R]:
    @functools.wraps(wrapped)
    def wrapper(sql: str, *args: Any) -> R:
        answer = wrapped(sql, *args)
        fate.end_statement(sql)
        return answer

    return wrapper


def django_statement(execute: Callable[..., R], sql: str, *args: Any) -> R:
    answer = execute(sql, *args)
    fate.end_statement(sql)
    return answer


def sent(wrapped: Callable[[Sequence[Message]], int]) -> Callable[[Sequence[Message]], int]:
    """The commit is behind it: it may end before the first message, or after half of them."""

    @functools.wraps(wrapped)
    def wrapper(messages: Sequence[Message]) -> int:
        if messages:
            fate.come_to("committed")
            if fate.is_here("half sent"):
                wrapped(messages[: len(messages) // 2])
                fate.die("half sent")
        return wrapped(messages)

    return wrapper


def wrap() -> None:
    """Every way from a due instant to a message, and from an outcome to what follows from it."""
    prepared.execute = statement(prepared.execute)
    connection.execute_wrappers.append(django_statement)
    due.take = after("taken", due.take)
    firing.write = after("written", firing.write)
    careful.write = after("written", careful.write)
    sending.send = sent(sending.send)  # type: ignore[assignment]  # names are lost
    dispatcher._fire = within("firing", dispatcher._fire)
    dispatcher.release_due = within("releasing", dispatcher.release_due)
    dispatcher.release_held = within("releasing held", dispatcher.release_held)
    consequences.draw = within("drawing", consequences.draw)
    dependents.start = within("starting dependents", dependents.start)
    internal.hear = within("hearing", internal.hear)
    keep = beat.Metronome._keep_house
    setattr(beat.Metronome, keep.__name__, within("keeping house", keep))


wrap()


class FailingScheduler(CadenzaScheduler):
    """The product's own scheduler, in a process that does not live long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fate.begin()
