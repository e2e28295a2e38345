"""What a model would be told of the next run of a schedule, in tokens: before there is a cycle.

For whoever sets `prompt_optimization`. No model is asked, also not for embeddings: what the agent
remembers comes by its age.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from agents_app.agent_config import AgentConfig, PromptOptimization
from agents_app.interfaces.registry import TaskAgentRegistry
from agents_app.models import Agent
from agents_app.models_cycles import Phase
from agents_app.objects import defaults
from agents_app.planning import context as contexts
from agents_app.planning import room
from agents_app.planning.analysis import Report, analyze_prompt_optimization
from agents_app.planning.context import Occasion
from agents_app.planning.job_context import JobContext
from agents_app.selection import Requirements
from config.env import env
from executions_app import ids


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRun:
    """A schedule as its next execution would know it."""

    schedule_id: UUID
    owner_id: int
    snapshot: Mapping[str, Any]
    parameters: Mapping[str, Any]
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The report, and who would be asked; nobody, if no agent can carry it out."""

    report: Report
    agent: Agent | None

    def as_json(self) -> dict[str, Any]:
        agent = self.agent
        who = {"agent": agent and agent.name, "model": agent.model if agent else ""}
        return {**who, **self.report.as_json()}


def preview(run: NextRun, *, phase: Phase, limits: Mapping[str, int], now: datetime) -> Preview:
    """`limits` take the place of those in the schedule's `prompt_optimization`.

    Raises pydantic.ValidationError for one that a schedule could not have.
    """
    config = AgentConfig.model_validate(run.snapshot["task_config"])
    bounds = PromptOptimization.model_validate(
        {**config.prompt_optimization.model_dump(), **limits}
    )
    defaults.ensure()
    capable = TaskAgentRegistry().find_capable_agents(Requirements.of(config))
    agent = capable[0] if capable else None
    context = _context(run, agent, now=now)
    if phase is not Phase.ANALYSE:
        can = agent.capabilities if agent else ()
        context = contexts.offering(context, capabilities=can)
    bounds = _as_the_model_holds(bounds, agent, phase=phase)
    report = analyze_prompt_optimization(context, bounds, phase=phase.value)
    return Preview(report=report, agent=agent)


def _as_the_model_holds(
    bounds: PromptOptimization, agent: Agent | None, *, phase: Phase
) -> PromptOptimization:
    """No prompt is longer than what the agent's model has room for, where that is known."""
    if agent is None:
        return bounds
    wanted = room.wanted_in(phase.value, most_steps=env.max_plan_steps)
    most = env.llm_answer_tokens
    its = room.found(wanted, provider=agent.provider, model=agent.model, most=most)
    tokens = bounds.max_tokens if its.prompt is None else min(bounds.max_tokens, its.prompt)
    return bounds.model_copy(update={"max_tokens": tokens})


def _context(run: NextRun, agent: Agent | None, *, now: datetime) -> JobContext:
    occasion = Occasion(
        id=ids.new(now),
        owner_id=run.owner_id,
        schedule_id=run.schedule_id,
        agent_id=agent.id if agent else None,
        snapshot=run.snapshot,
        parameters=run.parameters,
        nominal_at=run.next_run_at,
        next_run_at=run.next_run_at,
    )
    return contexts.of_run(occasion, now=now)
