"""Which agents there are for an execution, and how much each can take on at the moment."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from agents_app import selection
from agents_app.models import Agent
from agents_app.objects.standing import Capacity as Capacity
from agents_app.selection import Absence, Requirements, Standing


class AgentRegistry(Protocol):
    """What others ask of agents."""

    def get_agent_by_id(self, agent_id: UUID) -> Agent | None:
        """None for an id that is nobody's."""

    def find_capable_agents(self, requirements: Requirements) -> list[Agent]:
        """Who can do it, up or not, the one to be asked first in front; no stand-ins."""

    def find_optimal_agent(self, requirements: Requirements) -> Agent | None:
        """Who would be given a place now: the nearest, then the least loaded. None is taken."""

    def why_none(self, requirements: Requirements) -> Absence:
        """Why there is no optimal agent."""

    def is_agent_available(self, agent_id: UUID) -> bool:
        """Whether it is up, its provider too, and has a place free."""

    def get_agent_capacity(self, agent_id: UUID) -> Capacity | None:
        """None for an id that is nobody's."""


class TaskAgentRegistry:
    """The registered agents, as `selection` chooses among them."""

    def get_agent_by_id(self, agent_id: UUID) -> Agent | None:
        return Agent.objects.select_related("provider").filter(id=agent_id).first()

    def find_capable_agents(self, requirements: Requirements) -> list[Agent]:
        order = [one.id for one in selection.standing(requirements) if one.depth == 0]
        found = Agent.objects.select_related("provider").in_bulk(order)
        return [found[one] for one in order if one in found]

    def find_optimal_agent(self, requirements: Requirements) -> Agent | None:
        free = (one.id for one in selection.standing(requirements) if one.free)
        return next(filter(None, map(self.get_agent_by_id, free)), None)

    def why_none(self, requirements: Requirements) -> Absence:
        return selection.why_none(requirements)

    def is_agent_available(self, agent_id: UUID) -> bool:
        standing = self._standing(agent_id)
        return standing is not None and standing.free > 0

    def get_agent_capacity(self, agent_id: UUID) -> Capacity | None:
        standing = self._standing(agent_id)
        return Capacity(max=standing.most, used=standing.used) if standing else None

    def _standing(self, agent_id: UUID) -> Standing | None:
        agent = self.get_agent_by_id(agent_id)
        if agent is None:
            return None
        found = selection.standing(Requirements(agent=agent.name), most=1)
        return found[0] if found else None
