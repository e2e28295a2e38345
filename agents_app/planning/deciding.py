"""Who plans an execution and says when it runs next: a model, or what stands in for one.

Both keep one contract: a plan names only what `rights` open and holds `limits`, an advice holds
those of the schedule. A model that gives neither raises NoModel; what stands in for it never does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from agents_app.models import Tier
from agents_app.planning.authority import Rights
from agents_app.planning.contracts import Advice, Plan, TaskAnalysis
from agents_app.planning.fallback import Trouble
from agents_app.planning.job_context import Bounds, JobContext
from agents_app.planning.validation import AdviceLimits, PlanLimits
from executions_app.states import SchedulerException


class NoModel(SchedulerException):
    """Nobody gave an answer that can be used; the cycle goes on without."""

    def __init__(self, trouble: Trouble, reason: str) -> None:
        super().__init__(reason)
        self.trouble, self.reason = trouble, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a plan is to be made of, and what it may name.

    `parameters`: of the execution, as calls without a model get them; a model is told only what
    `context` says of them.
    """

    context: JobContext
    rights: Rights
    limits: PlanLimits
    bounds: Bounds
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    analysis: TaskAnalysis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRequest:
    """What became of an execution, and within which limits it may run next."""

    context: JobContext
    limits: AdviceLimits
    bounds: Bounds
    summary: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan and who made it; `reason` says why that is not the model, if it is not.

    Without a plan nothing is called: on purpose, or as there is nothing to call.
    `trouble`: what is the matter with the model, where it was not a model that planned.
    """

    plan: Plan | None
    tier: Tier
    reason: str = ""
    notes: tuple[str, ...] = ()
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """When to run next; `source` as the decision records it."""

    advice: Advice
    source: str
    notes: tuple[str, ...] = ()


class AIAgentService(ABC):
    """Plans an execution, and advises when it runs next."""

    @abstractmethod
    def plan(self, request: PlanRequest) -> Planned:
        """What to call; raises NoModel if there is no plan to be had from it."""

    @abstractmethod
    def schedule(self, request: ScheduleRequest) -> Advised:
        """When to run next; raises NoModel if there is no advice to be had from it."""
