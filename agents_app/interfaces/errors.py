"""Why an execution and an agent do not come together, each with the class that recovery goes by."""

from __future__ import annotations

from typing import Final

from agents_app.cycle.making import PlanFailed as PlanFailed
from agents_app.selection import Absence, Lack
from agents_app.tools.base import ToolFailed as ToolFailed
from errors_app.taxonomy import ErrorClass, HandlerError

SOON_SECONDS: Final = 60.0


class NoCapableAgent(HandlerError):
    """There is no agent that could do it, and there will be none until a person makes one."""

    def __init__(self, message: str, *, lack: str = "") -> None:
        super().__init__(message, error_class=ErrorClass.PERMANENT)
        self.context["lack"] = lack


class AgentUnavailable(HandlerError):
    """Who could do it is busy, switched off or failing: another try may find it free."""

    def __init__(self, message: str, *, lack: str = "") -> None:
        super().__init__(message, error_class=ErrorClass.TRANSIENT, retry_after=SOON_SECONDS)
        self.context["lack"] = lack


def of_absence(absence: Absence) -> NoCapableAgent | AgentUnavailable:
    """The error for an agent that `selection.take` did not find."""
    if absence.lack in {Lack.UNKNOWN, Lack.INCAPABLE}:
        return NoCapableAgent(absence.text, lack=absence.lack.value)
    return AgentUnavailable(absence.text, lack=absence.lack.value)
