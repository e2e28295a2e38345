"""Names what can go wrong with an attempt, and says which of it is worth another try.

`classify` is the one place where an exception becomes a row: its class decides the recovery, its
fingerprint joins it with its likes. The list of classes is closed; whoever raises a HandlerError
decides its class, for everything else the table below does.

Severity goes by the class, and is `high` at least once there is no further attempt (`decision`).
`critical` is what needs a person at once, since it takes other work with it and nothing heals it
by itself: a worker that cannot write because its disk is full or its quota used up (NO_SPACE), and
work that has taken three workers with it. Nothing else is.
"""

from __future__ import annotations

import errno
import hashlib
import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pydantic import JsonValue, ValidationError

from errors_app import likeness
from executions_app.scrub import scrub, storable_text, storable_without_secrets
from executions_app.states import SchedulerException

MOST_MESSAGE: Final = 2_000
MOST_STACK: Final = 16 * 1024
MOST_CONTEXT: Final = 16 * 1024
MOST_FRAMES: Final = 60


class ErrorClass(StrEnum):
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    TIMEOUT = "timeout"
    LOST = "lost"
    MALFORMED = "malformed"
    RESOURCE = "resource"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


RETRYABLE: Final = (ErrorClass.TRANSIENT, ErrorClass.TIMEOUT, ErrorClass.LOST)
SEVERITY: Final[Mapping[ErrorClass, Severity]] = {
    ErrorClass.TRANSIENT: Severity.LOW,
    ErrorClass.TIMEOUT: Severity.MEDIUM,
    ErrorClass.LOST: Severity.MEDIUM,
    ErrorClass.MALFORMED: Severity.MEDIUM,
    ErrorClass.UNKNOWN: Severity.MEDIUM,
    ErrorClass.PERMANENT: Severity.HIGH,
    ErrorClass.RESOURCE: Severity.HIGH,
}


class JobExecutionError(SchedulerException):
    """An attempt that did not succeed, for a reason that has a class.

    `retry_after`: seconds for which the other side asked to be left alone, if it did.
    `may_repeat`: False if the attempt may have had its effect and must not have it twice; then
    no other follows, whatever its class. True if it surely had none, None if the raiser cannot say.
    `not_before`: seconds for which this attempt may still run although it is recorded; no other
    begins meanwhile. Infinite if nobody can end it: then no other follows.
    """

    def __init__(
        self,
        message: str,
        *,
        error_class: ErrorClass,
        retry_after: float | None = None,
        may_repeat: bool | None = None,
        not_before: float | None = None,
        **context: object,
    ) -> None:
        super().__init__(message, **context)
        self.error_class = error_class
        self.retry_after = retry_after
        self.may_repeat = may_repeat
        self.not_before = not_before


class HandlerError(JobExecutionError):
    """Raised by a handler, which knows best whether another try may help."""


class DeadlineExceeded(JobExecutionError):
    """The time limit of the execution has passed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_class=ErrorClass.TIMEOUT)


class LeaseLost(JobExecutionError):
    """Another worker may own the execution by now: stop, write nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_class=ErrorClass.LOST)


class WorkerLost(JobExecutionError):
    """The worker fell silent in the middle of an attempt, which may be what ended it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_class=ErrorClass.LOST)


class Cancelled(SchedulerException):
    """Somebody asked the execution to stop. An outcome, not an error."""


_Types = type[BaseException] | tuple[type[BaseException], ...]
# The first row whose type matches decides.
_BY_TYPE: Final[tuple[tuple[_Types, ErrorClass], ...]] = (
    ((MemoryError, RecursionError), ErrorClass.RESOURCE),
    ((SystemExit, KeyboardInterrupt), ErrorClass.PERMANENT),
    (TimeoutError, ErrorClass.TIMEOUT),
    (OSError, ErrorClass.TRANSIENT),
    ((json.JSONDecodeError, UnicodeError, ValidationError), ErrorClass.MALFORMED),
)
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_EXHAUSTED: Final = NO_SPACE | {errno.ENOMEM, errno.EMFILE, errno.ENFILE}


@dataclass(frozen=True, slots=True)
class Classified:
    """An exception as it is recorded: bounded, storable, without secrets."""

    error_class: ErrorClass
    severity: Severity
    exception_type: str
    message: str
    stack: str
    fingerprint: str
    retry_after: float | None = None
    may_repeat: bool | None = None
    not_before: float | None = None
    context: dict[str, JsonValue] = field(default_factory=dict)


def classify(error: BaseException) -> Classified:
    """What `error` is, from its type alone or as its raiser said; never raises."""
    error_class = _class_of(error)
    exception_type = type(error).__qualname__
    message = _message(error)
    has_space = not isinstance(error, OSError) or error.errno not in NO_SPACE
    return Classified(
        error_class=error_class,
        severity=SEVERITY[error_class] if has_space else Severity.CRITICAL,
        exception_type=exception_type,
        message=message,
        stack=_stack(error),
        fingerprint=_fingerprint(error_class, exception_type, _place(error), message),
        retry_after=error.retry_after if isinstance(error, JobExecutionError) else None,
        may_repeat=error.may_repeat if isinstance(error, JobExecutionError) else None,
        not_before=error.not_before if isinstance(error, JobExecutionError) else None,
        context=_context(error),
    )


def _class_of(error: BaseException) -> ErrorClass:
    if isinstance(error, JobExecutionError):
        return error.error_class
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return ErrorClass.RESOURCE
    for types, error_class in _BY_TYPE:
        if isinstance(error, types):
            return error_class
    return ErrorClass.UNKNOWN


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "The handler called sys.exit(); let it return an Outcome or raise a HandlerError"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  the __str__ of user code may do anything
        text = "(its message could not be read)"
    text = scrub(storable_text(text[: 2 * MOST_MESSAGE])).strip()
    return text[:MOST_MESSAGE] or type(error).__qualname__


def _stack(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, MOST_FRAMES)
    except Exception:  # noqa: BLE001  a record without its stack is better than none
        return ""
    text = storable_text("".join(lines))
    if len(text) > 2 * MOST_STACK:
        text = f"{text[:MOST_STACK]}\n...\n{text[-MOST_STACK:]}"
    return _middle_left_out(scrub(text))


def _middle_left_out(text: str) -> str:
    """The beginning and the end of `text` in at most MOST_STACK bytes of UTF-8."""
    encoded = text.encode()
    if len(encoded) <= MOST_STACK:
        return text
    gap = b"\n... (the middle is left out)\n"
    half = (MOST_STACK - len(gap)) // 2
    return (encoded[:half] + gap + encoded[-half:]).decode(errors="ignore")


def _context(error: BaseException) -> dict[str, JsonValue]:
    if not isinstance(error, SchedulerException) or not error.context:
        return {}
    context, _ = storable_without_secrets(error.context, max_bytes=MOST_CONTEXT)
    return context if isinstance(context, dict) else {}


def _place(error: BaseException) -> str:
    """Module and function that raised: stable while lines around it come and go."""
    innermost = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        innermost = frame
    if innermost is None:
        return ""
    return f"{innermost.f_globals.get('__name__', '')}.{innermost.f_code.co_qualname}"


def _fingerprint(error_class: ErrorClass, exception_type: str, place: str, message: str) -> str:
    """The same 32 hex digits for errors that differ only in what `likeness` leaves out."""
    parts = f"{error_class.value}\n{exception_type}\n{place}\n{likeness.normalised(message)}"
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
