"""Has an agent carry out an execution: checks that they fit, begins the cycle, reads its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic import JsonValue, TypeAdapter

from agents_app.agent_config import AgentConfig, Budget
from agents_app.cycle import begin, ending
from agents_app.models import Agent, Cycle
from config.env import env
from executions_app.ledger import Claimed
from executions_app.models import Step
from executions_app.states import StepStatus


@dataclass(frozen=True, slots=True)
class Task:
    """An execution that its worker holds, and what its schedule says about the AI."""

    held: Claimed
    config: AgentConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAndExecuteOptions:
    """What a cycle may do for a task, and until when: every limit stands above what an AI says."""

    goal: str
    endpoints: tuple[str, ...]
    tools: tuple[str, ...]
    strategy: str
    most_parallel: int
    most_steps: int
    is_strict: bool
    autonomy: str
    deadline: datetime
    model: str = ""
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionResult:
    """What an execution of an agent has to show. `errors`: of the steps that did not end well."""

    status: str
    summary: str
    tier: str
    steps: tuple[dict[str, JsonValue], ...] = ()
    errors: tuple[dict[str, JsonValue], ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    def as_json(self) -> dict[str, Any]:
        kept: dict[str, Any] = _RESULT.dump_python(self, mode="json")
        return kept

    @classmethod
    def from_json(cls, value: object) -> ExecutionResult:
        """Raises pydantic.ValidationError for what `as_json` would not say."""
        return _RESULT.validate_python(value)


_RESULT: Final = TypeAdapter(ExecutionResult)


class AgentTaskExecutor:
    """Carries out tasks by cycles; `begin` takes an execution over from its worker."""

    def __init__(self, *, begin: Callable[[Claimed, AgentConfig], None] = begin.begin) -> None:
        self._begin = begin

    def execute_task(self, task: Task) -> None:
        """Begin its cycle, or go on with the one it has; raises LostRace without the lease."""
        self._begin(task.held, task.config)

    def validate_task_for_agent(self, task: Task, agent: Agent) -> list[str]:
        """Why this agent is not the one for it; empty if it is."""
        problems = []
        if not agent.enabled:
            problems.append(f"The agent {agent.name!r} is switched off")
        lacking = sorted(set(task.config.capabilities) - set(agent.capabilities))
        if lacking:
            problems.append(f"The agent {agent.name!r} cannot {', '.join(lacking)}")
        missing = sorted(set(task.config.tools) - set(agent.tools))
        if missing:
            problems.append(f"The agent {agent.name!r} may not use {', '.join(missing)}")
        return problems

    def create_plan_and_execute_options(
        self, task: Task, agent: Agent | None = None
    ) -> PlanAndExecuteOptions:
        """The context of a task as the goal and the limits of an agent."""
        config = task.config
        limit = timedelta(milliseconds=task.held.snapshot["timeout_ms"])
        return PlanAndExecuteOptions(
            goal=config.goal,
            endpoints=tuple(config.endpoints),
            tools=tuple(one for one in config.tools if agent is None or one in agent.tools),
            strategy=config.strategy,
            most_parallel=config.max_parallel,
            most_steps=env.max_plan_steps,
            is_strict=config.strict,
            autonomy=config.autonomy,
            deadline=task.held.started_at + limit,
            model=agent.model if agent else "",
            budget=config.budget,
        )

    def map_execution_result(self, cycle: Cycle, steps: Sequence[Step]) -> ExecutionResult:
        """What a cycle and its steps come to, in the words of `ending.result`."""
        told = ending.result(cycle, steps)
        bad = [one for one in told["steps"] if one["status"] != StepStatus.COMPLETED]
        return ExecutionResult(
            status=cycle.status,
            summary=told["summary"],
            tier=told["tier"],
            steps=tuple(told["steps"]),
            errors=tuple(
                {"step": one["name"], "error_class": one["error_class"], "message": one["reason"]}
                for one in bad
            ),
            prompt_tokens=told["tokens"]["prompt"],
            completion_tokens=told["tokens"]["completion"],
            cost_usd=Decimal(told["cost_usd"]),
        )
