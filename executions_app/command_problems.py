"""When a command cannot follow an execution further: what went wrong, what to do, how to exit.

`commands` prints a CommandProblem and exits with its code; `problem_of` makes one of every
exception that a command can meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final

import redis
from django.conf import settings
from django.db import InterfaceError, OperationalError, ProgrammingError

from config.env import env
from executions_app.states import LostRace, SchedulerException


class Exit(IntEnum):
    """How a command ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DRIFT = 3
    NOT_FOUND = 4
    REFUSED = 5
    UNAVAILABLE = 69
    TRY_AGAIN = 75
    TIMEOUT = 124
    INTERRUPTED = 130


class CommandProblem(SchedulerException):
    """Why a command cannot do what it was asked: the fact, what to do next, how to exit.

    `fields`: what is wrong with each field, by its dotted path.
    """

    def __init__(
        self, what: str, todo: str, exit_code: Exit, *, fields: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(what)
        self.what, self.todo, self.exit_code = what, todo, exit_code
        self.fields = dict(fields or {})

    def document(self) -> dict[str, Any]:
        return {
            "error": {
                "code": self.exit_code.name.lower(),
                "exit": self.exit_code.value,
                "message": self.what,
                "todo": self.todo,
                "fields": self.fields,
            }
        }


def problem_of(error: BaseException) -> CommandProblem | None:
    """What the exceptions that every command can meet mean to its caller; None if unforeseen."""
    if isinstance(error, CommandProblem):
        return error
    for types, made_of in MEANINGS:
        if isinstance(error, types):
            return made_of(error)
    return None


def _away(error: BaseException) -> CommandProblem:
    is_embedded = not (env.database_url and env.redis_url)
    if is_embedded and not settings.SERVICES.token:
        return CommandProblem("Cadenza is not running", "Start it with `make up`", Exit.UNAVAILABLE)
    service = "PostgreSQL" if isinstance(error, OperationalError | InterfaceError) else "Redis"
    return CommandProblem(
        f"{service} does not answer: {_first_line(error)}",
        "`manage.py doctor` says what is wrong",
        Exit.UNAVAILABLE,
    )


def _outdated(error: BaseException) -> CommandProblem:
    return CommandProblem(
        f"The tables are not as they should be: {_first_line(error)}",
        "Bring the database up to date with `manage.py migrate`",
        Exit.UNAVAILABLE,
    )


def _lost(error: BaseException) -> CommandProblem:
    return CommandProblem(str(error), "Look at it again and repeat", Exit.TRY_AGAIN)


def _refused(error: BaseException) -> CommandProblem:
    return CommandProblem(str(error), "Nothing was changed; look at its state", Exit.REFUSED)


def _too_late(error: BaseException) -> CommandProblem:
    what = str(error) or "It took too long"
    return CommandProblem(what, "What was done stays done; try it again", Exit.TIMEOUT)


def _interrupted(_error: BaseException) -> CommandProblem:
    return CommandProblem("Interrupted", "What was done before stays done", Exit.INTERRUPTED)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


MEANINGS: Final[
    tuple[
        tuple[tuple[type[BaseException], ...], Callable[[BaseException], CommandProblem]],
        ...,
    ]
] = (
    ((LostRace,), _lost),
    ((SchedulerException,), _refused),
    ((ProgrammingError,), _outdated),
    ((OperationalError, InterfaceError, redis.RedisError, ConnectionError), _away),
    ((TimeoutError,), _too_late),
    ((KeyboardInterrupt,), _interrupted),
)
"""The first row that fits decides."""
