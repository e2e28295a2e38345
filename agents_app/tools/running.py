"""Carries out a tool for a step: checked arguments, bounded time, another one if it fails."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import connection
from pydantic import JsonValue

from agents_app import connections
from agents_app.clients.patience import SLICE_SECONDS
from agents_app.metering import Meter
from agents_app.models_objects import SideEffect
from agents_app.planning import parameter_schemas
from agents_app.tools import registry
from agents_app.tools.base import (
    Tool,
    ToolArguments,
    ToolContext,
    ToolFailed,
    ToolRefused,
    ToolTimedOut,
    ToolUnknown,
)
from errors_app.taxonomy import (
    RETRYABLE,
    DeadlineExceeded,
    ErrorClass,
    HandlerError,
    LeaseLost,
    classify,
)
from executions_app.scrub import storable_without_secrets
from executions_app.states import SchedulerException

MOST_ANSWER_BYTES: Final = 60 * 1024
MOST_LEFT_BEHIND: Final = 16
"""So many runs that did not end in time may go on in this process; then tools are refused."""

logger = logging.getLogger(__name__)
_left_behind: Final[set[threading.Thread]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a tool gave. `tool`: the one that gave it; `notes` say why it is another one."""

    tool: str
    output: JsonValue
    truncated: bool
    attempts: int
    duration_ms: int
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "tool": self.tool,
            "output": self.output,
            "truncated": self.truncated,
            "attempts": self.attempts,
            "duration_ms": self.duration_ms,
            "notes": list(self.notes),
        }


def run(name: str, arguments: Mapping[str, Any], context: ToolContext) -> Ran:
    """Run the tool, again after a passing failure, and then its alternatives, before the deadline.

    Raises ToolUnknown, ToolRefused, ToolArguments or, of the first tool, ToolFailed; what
    `context.check` raises passes through.
    """
    first = _permitted(name, context)
    _check(first, arguments)
    began = time.monotonic()
    notes: list[str] = []
    attempts = 0
    failure: ToolFailed | None = None
    for one in _candidates(first, context, notes):
        try:
            output, tries = _tried(one, arguments, context)
        except ToolFailed as error:
            attempts += int(str(error.context.get("attempts", 0)))
            notes.append(str(error))
            failure = failure or error
            if one.side_effect is SideEffect.WRITE and error.may_repeat is not True:
                break
            continue
        body, is_cut = storable_without_secrets(output, max_bytes=MOST_ANSWER_BYTES)
        return Ran(
            tool=one.name,
            output=body,
            truncated=is_cut,
            attempts=attempts + tries,
            duration_ms=round((time.monotonic() - began) * 1000),
            notes=tuple(notes),
        )
    assert failure is not None
    failure.context |= {"notes": notes, "attempts": attempts}
    raise failure


def _permitted(name: str, context: ToolContext) -> Tool:
    tool = registry.find(name)
    if context.allowed is not None and name not in context.allowed:
        raise ToolRefused(name, "neither the schedule nor its agent names it")
    if tool.permission:
        owner = User.objects.filter(id=context.owner_id).first()
        connections.let_go()
        if owner is None or not owner.has_perm(tool.permission):
            raise ToolRefused(name, f"the owner lacks the permission {tool.permission!r}")
    return tool


def _candidates(first: Tool, context: ToolContext, notes: list[str]) -> Any:
    """The tool, then its alternatives as far as this step may use them."""
    yield first
    for name in first.alternatives:
        try:
            yield _permitted(name, context)
        except (ToolUnknown, ToolRefused) as error:
            notes.append(str(error))


def _tried(tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> tuple[JsonValue, int]:
    """What the tool gave and after how many tries; raises ToolFailed."""
    _check(tool, arguments)
    tries = 0
    while True:
        tries += 1
        context.check()
        try:
            return _once(tool, arguments, context), tries
        except ToolFailed as error:
            error.context["attempts"] = tries
            is_harmless = tool.side_effect is SideEffect.READ or error.may_repeat is True
            is_passing = error.error_class in RETRYABLE and not isinstance(error, ToolTimedOut)
            if tries > tool.retries or not (is_harmless and is_passing):
                raise


def _check(tool: Tool, arguments: Mapping[str, Any]) -> None:
    found = parameter_schemas.misfits(dict(arguments), schema=tool.schema)
    if found:
        raise ToolArguments(tool.name, [f"{where} {what}".strip() for where, what in found])


def _once(tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> JsonValue:
    """One run, in a thread that is waited for as long as the tool may take and no longer."""
    if sum(one.is_alive() for one in list(_left_behind)) >= MOST_LEFT_BEHIND:
        raise ToolFailed(
            f"The tool {tool.name!r} was not run: {MOST_LEFT_BEHIND} runs of tools do not end",
            error_class=ErrorClass.RESOURCE,
            may_repeat=True,
            tool=tool.name,
        )
    ends = min(context.deadline, time.monotonic() + tool.timeout_seconds)
    return _Run(tool, arguments, context, ends=ends).result(context.check)


class _Run:
    """One run of a tool in its own thread; after its time is over it hears that from `check`."""

    def __init__(
        self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext, *, ends: float
    ) -> None:
        self._tool, self._ends = tool, ends
        self._is_over = threading.Event()
        self._output: JsonValue = None
        self._error: BaseException | None = None
        self._stops, self._took = context.check, context.took
        self._is_left = False
        inner = replace(context, deadline=ends, check=self._check)
        self._work: Callable[[], JsonValue] = partial(tool.work, dict(arguments), inner)
        scope = contextvars.copy_context()
        self._thread = threading.Thread(
            target=partial(scope.run, self._run), name=f"tool:{tool.name}", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        meter = Meter()
        try:
            self._output = self._work()
        except BaseException as error:  # noqa: BLE001  told to who waits, like any other end
            self._error = error
        finally:
            connection.close()
            self._took(meter.usage())
            _left_behind.discard(self._thread)
            self._is_over.set()

    def _check(self) -> None:
        """For the tool: the same as for its step, and that nobody waits any more."""
        self._check_time()
        self._stops()

    def _check_time(self) -> None:
        if self._is_left or self._left <= 0:
            raise _timed_out(self._tool)

    def result(self, check: Callable[[], None]) -> JsonValue:
        """Wait for the end; raises ToolFailed, or what `check` raises."""
        try:
            while not self._is_over.wait(max(0.0, min(SLICE_SECONDS, self._left))):
                check()
                self._check_time()
        except BaseException as error:
            self._is_left = True
            _left_behind.add(self._thread)
            self._say_if_it_may_be_repeated(error)
            raise
        if self._error is not None:
            self._say_if_it_may_be_repeated(self._error)
            raise _failure(self._tool, self._error)
        return self._output

    def _say_if_it_may_be_repeated(self, error: BaseException) -> None:
        """Of what was cut off in the middle by the time limit of its execution."""
        if isinstance(error, DeadlineExceeded) and error.may_repeat is None:
            error.may_repeat = self._tool.side_effect is SideEffect.READ

    @property
    def _left(self) -> float:
        return self._ends - time.monotonic()


def _timed_out(tool: Tool) -> ToolTimedOut:
    return ToolTimedOut(
        f"The tool {tool.name!r} was not done within its time",
        error_class=ErrorClass.TIMEOUT,
        may_repeat=tool.side_effect is SideEffect.READ,
        tool=tool.name,
    )


def _failure(tool: Tool, error: BaseException) -> SchedulerException:
    """What the tool raised, typed; that its step is to stop is no failure of the tool."""
    if isinstance(error, ToolFailed | DeadlineExceeded | LeaseLost):
        return error
    if isinstance(error, SchedulerException) and not isinstance(error, HandlerError):
        return error
    found = classify(error)
    may_repeat = error.may_repeat if isinstance(error, HandlerError) else None
    failed = ToolFailed(
        f"The tool {tool.name!r} failed: {found.message}",
        error_class=found.error_class,
        retry_after=found.retry_after,
        may_repeat=may_repeat,
        tool=tool.name,
    )
    failed.__cause__ = error
    return failed
