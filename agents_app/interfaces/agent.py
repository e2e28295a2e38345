"""What every agent is to whoever runs it: begun once at a time, stopped from outside, heard."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from pydantic import JsonValue

from errors_app.taxonomy import Cancelled
from executions_app import live
from executions_app.events import NewEvent
from executions_app.scrub import scrub, storable_text, storable_without_secrets
from executions_app.states import SchedulerException

MOST_MESSAGE: Final = 2_000
MOST_DATA: Final = 8 * 1024

Config = TypeVar("Config")
Result = TypeVar("Result")


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


SEVERITIES: Final[Mapping[Level, str]] = {
    Level.INFO: "",
    Level.WARNING: "medium",
    Level.ERROR: "high",
}


class AlreadyRunning(SchedulerException):
    """The agent is at work: one execution at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose log it is: `owner_id` sees it, under the execution if there is one."""

    agent: str
    owner_id: int | None = None
    execution_id: UUID | None = None
    schedule_id: UUID | None = None


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to carry it out. `check` raises when the execution has to stop, whoever wants that.

    `parameters`: of the execution.
    """

    subject: Subject | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[], None] = field(default=_nothing)


class BaseAgent(ABC, Generic[Config, Result]):
    """One that carries out executions; a subclass says how in `execute_impl`.

    `tell` takes what it logs; by default it is stored, and sent to whoever is subscribed.
    """

    def __init__(
        self, name: str, *, tell: Callable[[NewEvent], None] = live.send_to_subscribers
    ) -> None:
        self.name = name
        self._tell = tell
        self._at_work = threading.Lock()
        self._stop = threading.Event()
        self._options = Options()

    @property
    def is_running(self) -> bool:
        """Whether `execute` is under way."""
        return self._at_work.locked()

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Those of the execution that is under way."""
        return self._options.parameters

    @property
    def should_stop(self) -> bool:
        """Whether somebody has asked for its end since it began."""
        return self._stop.is_set()

    def execute(self, config: Config, options: Options | None = None) -> Result:
        """Carry it out; raises AlreadyRunning, and what `execute_impl` raises."""
        if not self._at_work.acquire(blocking=False):
            raise AlreadyRunning(f"The agent {self.name!r} is at work; wait for it, or stop it")
        try:
            self._stop.clear()
            self._options = options or Options()
            return self.execute_impl(config)
        except Cancelled as error:
            self.log_event("cancelled", str(error), level=Level.WARNING)
            raise
        except Exception as error:
            self.log_event("failed", str(error), level=Level.ERROR)
            raise
        finally:
            self._options = Options()
            self._at_work.release()

    def stop(self) -> None:
        """Ask for its end; it ends at its next `check`."""
        self._stop.set()

    def check(self) -> None:
        """For `execute_impl`, at least once a second: raises when it has to stop."""
        if self.should_stop:
            raise Cancelled(f"The agent {self.name!r} was asked to stop")
        self._options.check()

    def log_event(
        self,
        type_: str,
        message: str,
        data: Mapping[str, JsonValue] | None = None,
        level: Level = Level.INFO,
    ) -> None:
        """Have something of its work stored and sent out, without secrets and cut."""
        subject = self._options.subject or Subject(agent=self.name)
        kept, _ = storable_without_secrets(dict(data or {}), max_bytes=MOST_DATA)
        told: dict[str, Any] = {
            "agent": subject.agent,
            "event": storable_text(type_)[:100],
            "level": Level(level).value,
            "message": scrub(storable_text(message))[:MOST_MESSAGE],
            "data": kept,
        }
        where = (
            f"execution:{subject.execution_id}" if subject.execution_id else f"agent:{self.name}"
        )
        self._tell(
            NewEvent(
                type="agent:log",
                topic=where,
                data=told,
                owner_id=subject.owner_id,
                schedule_id=subject.schedule_id,
                execution_id=subject.execution_id,
                severity=SEVERITIES[Level(level)],
            )
        )

    @abstractmethod
    def execute_impl(self, config: Config) -> Result:
        """The work itself."""
