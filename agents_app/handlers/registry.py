"""Finds the handler of an execution: one table from task type to class, read by all who ask.

To add a handler of Cadenza itself, add a line to HANDLERS; one of your own is named by the
setting EXTRA_HANDLERS or, in code that the process imports anyway, by `register`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from agents_app.handlers.base import Handler
from config.env import env
from errors_app.taxonomy import ErrorClass, HandlerError

HANDLERS: Final[dict[str, str]] = {
    "agent": "agents_app.handlers.agent.Agent",
    "conductor": "agents_app.handlers.conductor.ConductorTask",
    "http_request": "agents_app.handlers.http.HttpRequest",
    "llm": "agents_app.handlers.llm.Llm",
    "shell_command": "agents_app.handlers.shell.ShellCommand",
}

_registered: Final[dict[str, type[Handler[Any]]]] = {}
HandlerClass = TypeVar("HandlerClass", bound=type[Handler[Any]])


class Problem(NamedTuple):
    """One thing that is wrong with a task config; `field` is a dotted path, empty for the whole."""

    field: str
    message: str


class UnknownTaskType(HandlerError):
    """No handler goes by this name here."""

    def __init__(self, task_type: str) -> None:
        super().__init__(
            f"There is no task type {task_type!r}; known are {', '.join(task_types())}",
            error_class=ErrorClass.PERMANENT,
            task_type=task_type,
        )


class InvalidTaskConfig(HandlerError):
    """The task config does not fit its task type; `problems` lists everything found at once."""

    def __init__(self, task_type: str, problems: list[Problem]) -> None:
        listed = "; ".join(f"{one.field or 'task_config'}: {one.message}" for one in problems)
        super().__init__(
            f"The task config does not fit {task_type!r}: {listed}",
            error_class=ErrorClass.PERMANENT,
            task_type=task_type,
        )
        self.problems = problems


def register(task_type: str) -> Callable[[HandlerClass], HandlerClass]:
    """A class decorator: executions of `task_type` are carried out by this handler.

    Raises ValueError if another handler has the name.
    """

    def add(handler: HandlerClass) -> HandlerClass:
        if task_type in paths() or _registered.get(task_type, handler) is not handler:
            raise ValueError(f"Task type {task_type!r} has a handler already; choose another name")
        _registered[task_type] = handler
        return handler

    return add


def extra_handlers(entries: list[str]) -> dict[str, str]:
    """The entries `name=dotted.path` as a table; raises ValueError for one of another form."""
    table = {}
    for entry in entries:
        name, _, path = (part.strip() for part in entry.partition("="))
        if not name or "." not in path:
            raise ValueError(f"EXTRA_HANDLERS: {entry!r} is not of the form name=package.Class")
        table[name] = path
    return table


@cache
def paths() -> Mapping[str, str]:
    """Task type to dotted path, of Cadenza's own handlers and of the setting's."""
    return {**extra_handlers(env.extra_handlers), **HANDLERS}


def task_types() -> list[str]:
    """Every task type that can be carried out here, in alphabetical order."""
    return sorted({*paths(), *_registered})


def resolve(task_type: str) -> Handler[Any]:
    """The one handler of this process for `task_type`; raises UnknownTaskType."""
    if task_type in _registered:
        return _instance(_registered[task_type])
    path = paths().get(task_type)
    if path is None:
        raise UnknownTaskType(task_type)
    return _instance(_class_at(path))


@cache
def _class_at(path: str) -> type[Handler[Any]]:
    found = pkgutil.resolve_name(path)
    if not (isinstance(found, type) and issubclass(found, Handler)):
        raise TypeError(f"{path!r} is no subclass of Handler; correct EXTRA_HANDLERS")
    return found


@cache
def _instance(handler: type[Handler[Any]]) -> Handler[Any]:
    return handler()


def nature(task_type: str) -> Literal["io", "process", "cpu"]:
    """Where executions of `task_type` spend their time; raises UnknownTaskType."""
    return resolve(task_type).nature


def validate(task_type: str, task_config: Mapping[str, Any]) -> BaseModel:
    """The task config as its handler's model; raises UnknownTaskType or InvalidTaskConfig."""
    return validate_for(resolve(task_type), task_type, task_config)


def validate_for(
    handler: Handler[Any], task_type: str, task_config: Mapping[str, Any]
) -> BaseModel:
    """As `validate`, for a handler that was found already."""
    model = handler.config_model
    try:
        return model.model_validate(task_config)
    except ValidationError as error:
        problems = [_problem(one) for one in error.errors(include_url=False, include_input=False)]
        raise InvalidTaskConfig(task_type, problems) from None


def _problem(detail: ErrorDetails) -> Problem:
    # A validator's ValueError is a sentence already; pydantic would put "Value error, " before it.
    raised = detail.get("ctx", {}).get("error")
    message = str(raised) if isinstance(raised, ValueError) else detail["msg"]
    # Between the names of fields pydantic puts those of its own validators, in brackets.
    path = (str(part) for part in detail["loc"])
    return Problem(".".join(part for part in path if "[" not in part), message)
