"""How a Conductor fails an execution: the name of each failure, and whether to try again.

The names and their classes stand in docs/guides/ai.md.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from agents_app.clients import http, statuses
from agents_app.clients.conductor_shapes import Refusal, TaskError, Thread
from errors_app.taxonomy import ErrorClass, HandlerError

MOST_SAID: Final = 500


class ConductorError(HandlerError):
    """A call of the Conductor that did not bring what it was made for."""


class ConductorAway(ConductorError):
    """It was not reached, or answered that it cannot just now (408, 425, 429, 5xx)."""


class ConductorTimeout(ConductorError):
    """It did not answer, or was not done, in time."""


class ConductorRefused(ConductorError):
    """It does not take the request (4xx)."""


class ThreadUnknown(ConductorRefused):
    """It has no such thread (404)."""


class ConductorMalformed(ConductorError):
    """It answered with what is no answer to this call."""


class AnswerTooLarge(ConductorError):
    """Its answer is longer than anybody reads; the work may have been done."""


class TaskFailed(ConductorError):
    """It took the task, and the task failed."""


def unreached(error: HandlerError) -> ConductorError:
    """What the door raised, as a failure of the Conductor."""
    kind: type[ConductorError] = ConductorError
    match error.error_class:
        case ErrorClass.TIMEOUT:
            kind = ConductorTimeout
        case ErrorClass.TRANSIENT:
            kind = ConductorAway
        case ErrorClass.MALFORMED:
            kind = ConductorMalformed
    return kind(
        f"The Conductor was not reached: {error}",
        error_class=error.error_class,
        retry_after=error.retry_after,
        may_repeat=error.may_repeat,
    )


def refused(request: http.Request, response: http.Response) -> ConductorError:
    """An answer whose status is no success."""
    plain = statuses.refused(request, response)
    kind: type[ConductorError] = ConductorRefused
    if response.status == 404:
        kind = ThreadUnknown
    elif plain.error_class is ErrorClass.TRANSIENT:
        kind = ConductorAway
    said = _said(response)
    return kind(
        str(plain) + (f": {said}" if said else ""),
        error_class=plain.error_class,
        retry_after=plain.retry_after,
        status=response.status,
        response=plain.context["response"],
    )


def unread(error: ValidationError) -> ConductorMalformed:
    """An answer that is no thread."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the body"
    return ConductorMalformed(
        f"The Conductor's answer cannot be read: {place}: {first['msg']}",
        error_class=ErrorClass.MALFORMED,
    )


def too_large(max_bytes: int) -> AnswerTooLarge:
    """An answer that was read up to `max_bytes` and went on."""
    return AnswerTooLarge(
        f"The Conductor's answer has more than {max_bytes} bytes and was not read to its end; "
        "have the task answer less, or raise RESULT_MAX_BYTES, of which four times is read",
        error_class=ErrorClass.MALFORMED,
        max_bytes=max_bytes,
    )


def failed(thread: Thread) -> TaskFailed:
    """The failure of a task that the Conductor took."""
    why = thread.error or TaskError(message=f"the thread is {thread.status}")
    said = why.message or why.code or "no reason given"
    return TaskFailed(
        f"The Conductor's task failed: {said[:MOST_SAID]}",
        error_class=ErrorClass.TRANSIENT if why.retryable else ErrorClass.PERMANENT,
        thread_id=thread.thread_id,
        message_id=thread.message_id,
        code=why.code,
    )


def _said(response: http.Response) -> str:
    try:
        return Refusal.model_validate(response.body).text[:MOST_SAID]
    except ValidationError:
        return ""
