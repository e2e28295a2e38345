"""The interface between the runner and what it runs: a handler gets a context, gives an outcome."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, JsonValue

C = TypeVar("C", bound=BaseModel)


class Outcome(BaseModel):
    """What a handler has to show for its work; stored as the result of the execution."""

    output: JsonValue
    detail: Literal["ok", "partial"] = "ok"


class HandedOver:
    """What a handler answers whose work goes on without it, under the lease of the execution."""


class Context(Protocol[C]):
    """One attempt, as its handler sees it."""

    config: C
    parameters: Mapping[str, Any]
    execution_id: UUID
    attempt: int
    deadline: datetime

    def progress(self, done: int, total: int, *, step: str = "") -> None:
        """Tell how far the work is."""

    def waiting(self) -> AbstractContextManager[None]:
        """While the block runs, the time limit stands still: the work waits for its turn."""

    def took(self, program: Any, *, peak_bytes: int = 0) -> None:
        """Count what a program took that has ended, by what `os.wait4` said of it.

        `peak_bytes`: the most memory that it was seen to have while it ran.
        """

    def check(self) -> None:
        """Raise Cancelled, DeadlineExceeded or LeaseLost when the handler has to stop.

        Whoever waits calls it at least once a second.
        """


class Handler(ABC, Generic[C]):
    """Carries out executions of one task type. One instance serves all threads of a process.

    `config_model` validates the task config when a schedule is saved. `nature` says where `run`
    spends its time and so which worker shape suits it: waiting (io), in a child process
    (process) or computing (cpu).
    """

    config_model: ClassVar[type[BaseModel]]
    nature: ClassVar[Literal["io", "process", "cpu"]]

    @abstractmethod
    def run(self, context: Context[C]) -> Outcome | HandedOver:
        """Do the work; raise a HandlerError to say how it failed and whether to try again."""

    def cancel(self, context: Context[C]) -> None:
        """Interrupt a `run` that cannot call `check`; called from the heartbeat thread."""
