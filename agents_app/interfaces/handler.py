"""Brings an execution and an agent together: what it needs, who could do it, how far they are."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from agents_app.cycle import monitor
from agents_app.cycle.monitor import Watched
from agents_app.interfaces import errors
from agents_app.interfaces.executor import AgentTaskExecutor, Task
from agents_app.interfaces.registry import AgentRegistry, TaskAgentRegistry
from agents_app.models import Agent
from agents_app.planning.contracts import TaskAnalysis
from agents_app.selection import Requirements


class Executes(Protocol):
    """Carries out a task."""

    def execute_task(self, task: Task) -> None: ...


class AgentTaskHandler:
    """Takes executions of agents on.

    A task for which there is nobody is begun all the same: its cycle waits for an agent, or does
    without one on a lower tier. Jobs run when no AI does.
    """

    def __init__(
        self, *, registry: AgentRegistry | None = None, executor: Executes | None = None
    ) -> None:
        self._registry = registry or TaskAgentRegistry()
        self._executor = executor or AgentTaskExecutor()

    def handle_task(self, task: Task) -> None:
        """Begin it; raises LostRace without the lease of its execution."""
        self._executor.execute_task(task)

    def analyze_task_requirements(
        self, task: Task, analysis: TaskAnalysis | None = None
    ) -> Requirements:
        """What its schedule says that it needs, and what a model adds to that."""
        said = Requirements.of(task.config)
        if analysis is None:
            return said
        return Requirements(
            said.agent,
            tuple(dict.fromkeys((*said.capabilities, *analysis.needs))),
            tuple(dict.fromkeys((*said.tools, *analysis.required_tools))),
        )

    def select_optimal_agent(self, requirements: Requirements) -> Agent:
        """Who would be given a place now: nearest, then least loaded. No place is taken by this.

        Raises NoCapableAgent or AgentUnavailable.
        """
        agent = self._registry.find_optimal_agent(requirements)
        if agent is None:
            raise errors.of_absence(self._registry.why_none(requirements))
        return agent

    def monitor_execution(self, execution_id: UUID) -> Watched | None:
        """How its cycle is doing; None if none is at work."""
        return monitor.of_execution(execution_id)
