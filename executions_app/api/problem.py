"""The words of a refusal: why an execution, or anything else, cannot be had.

`problems` makes answers of these. Nothing here imports a view, since REST framework's views
import the parsers that raise them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import redis
from django.db import DatabaseError, InterfaceError, InternalError, OperationalError
from rest_framework import exceptions

from executions_app.database_errors import NO_SPACE, READ_ONLY, sqlstate

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5
AWAY: Final = (OperationalError, InterfaceError, redis.RedisError, ConnectionError)


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; `pointer` is a JSON pointer (RFC 6901) into the request."""

    pointer: str
    code: str
    detail: str


class Problem(exceptions.APIException):
    """An error with a status, a code and words of its own."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        wait: int | None = None,
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.errors = list(errors)
        self.wait = wait  # seconds, for Retry-After


Meanings = Mapping[type[Exception], Callable[[Any], Problem]]
"""What the exceptions of an app mean over HTTP; a view names its own as `meanings`."""


def conflict(error: Exception) -> Problem:
    """The state of things does not admit what was asked."""
    return Problem(409, "conflict", str(error))


def operator_needed(error: Exception) -> Problem:
    """The act is an operator's, and the caller is none."""
    return Problem(403, "operator_needed", str(error))


def is_away(error: BaseException | None) -> bool:
    """True if a service is to blame, for the moment: nothing is wrong with the request."""
    return isinstance(error, AWAY) or (
        isinstance(error, InternalError) and sqlstate(error) == READ_ONLY
    )


def away(error: BaseException) -> Problem:
    """PostgreSQL or Redis does not answer, or writes nothing; the caller may repeat the request."""
    state = sqlstate(error)
    name = "PostgreSQL" if isinstance(error, DatabaseError | InterfaceError) else "Redis"
    fact = "does not answer"
    if state == NO_SPACE or isinstance(error, redis.OutOfMemoryError):
        fact = "has no space left"
    elif state == READ_ONLY:
        fact = "only reads at the moment"
    detail = f"{name} {fact}; repeat the request in a moment"
    return Problem(503, "unavailable", detail, wait=RETRY_AFTER_SECONDS)


def invalid(errors: Sequence[FieldError]) -> Problem:
    """The request has fields that cannot be used."""
    named = ", ".join(one.pointer or "/" for one in errors)
    return Problem(400, "validation_error", f"The request is not valid: see {named}", errors=errors)


class Misfit(Protocol):
    """One thing wrong with one field, as definitions of schedules, rules and channels say it."""

    @property
    def path(self) -> tuple[str, ...]: ...
    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...


class Misfits(Protocol):
    """An exception that lists them."""

    @property
    def problems(self) -> Sequence[Misfit]: ...


def misfitting(error: Misfits) -> Problem:
    """Words that make no schedule, no rule, no channel."""
    return invalid(
        [FieldError(pointer(*one.path), one.code, one.message) for one in error.problems]
    )


def pointer(*path: str) -> str:
    """The JSON pointer of a path; empty for the whole."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
