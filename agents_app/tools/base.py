"""What a tool of a step is: a function with a name, a description, a schema, and a few promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from pydantic import JsonValue

from agents_app.models_objects import SideEffect
from agents_app.planning import parameter_schemas
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.ledger import Usage

LONGEST_SECONDS: Final = 300.0


class ToolFailed(HandlerError):
    """A tool did not do its work."""


class ToolUnknown(ToolFailed):
    """No tool goes by this name here."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(
            f"There is no tool {name!r}; known are {', '.join(known)}",
            error_class=ErrorClass.PERMANENT,
            may_repeat=True,
            tool=name,
        )


class ToolArguments(ToolFailed):
    """The arguments do not fit the tool's schema; `problems` says where. It was not run."""

    def __init__(self, name: str, problems: list[str]) -> None:
        super().__init__(
            f"The arguments do not fit the tool {name!r}: {'; '.join(problems)}",
            error_class=ErrorClass.PERMANENT,
            may_repeat=True,
            tool=name,
        )
        self.problems = problems


class ToolRefused(ToolFailed):
    """This step may not use the tool. It was not run."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The tool {name!r} may not be used here: {reason}",
            error_class=ErrorClass.PERMANENT,
            may_repeat=True,
            tool=name,
        )


class ToolTimedOut(ToolFailed):
    """The tool was not done in time; what it does from now on is not waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """For whom a tool works. `deadline`: monotonic; `check` raises when the step is to stop.

    `allowed`: the tools that the schedule and the agent name; None: any. `took` hears what a run
    took of the machine, in the thread that it ran in.
    """

    owner_id: int
    execution_id: UUID
    step_id: UUID
    deadline: float
    schedule_id: UUID | None = None
    agent_id: UUID | None = None
    allowed: frozenset[str] | None = None
    check: Callable[[], None] = field(default=lambda: None)
    took: Callable[[Usage], None] = field(default=lambda _: None)


Work = Callable[[Mapping[str, Any], ToolContext], JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """`schema` is a JSON Schema of the arguments; `keywords` are words of tasks that it suits.

    `capabilities`: of agents that it is meant for. `permission`: what the owner of the schedule
    must hold, as `app.codename`; empty: nothing. `alternatives`: tools that take its place, in
    this order, when it fails. `retries`: further tries after a passing failure.
    """

    name: str
    description: str
    schema: Mapping[str, JsonValue]
    work: Work
    side_effect: SideEffect = SideEffect.READ
    permission: str = ""
    keywords: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    alternatives: tuple[str, ...] = ()
    timeout_seconds: float = 30.0
    retries: int = 1

    def as_json(self) -> dict[str, JsonValue]:
        """What a model is told of it."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters_schema": dict(self.schema),
            "side_effect": self.side_effect.value,
        }


def tool(
    name: str, *, description: str, schema: Mapping[str, JsonValue], **promises: Any
) -> Callable[[Work], Tool]:
    """A decorator that makes a Tool of a function `(arguments, context) -> JSON`.

    `promises` are the further fields of Tool. The function calls `context.check` at least once a
    second where it waits, and raises HandlerError to say how it failed. Raises ValueError for a
    schema that cannot be used or a time limit beyond LONGEST_SECONDS.
    """
    parameter_schemas.check_schema(schema)
    if not 0 < promises.get("timeout_seconds", 1.0) <= LONGEST_SECONDS:
        raise ValueError(f"timeout_seconds of {name!r} must be at most {LONGEST_SECONDS:g}")

    def make(work: Work) -> Tool:
        return Tool(name=name, description=description, schema=schema, work=work, **promises)

    return make
