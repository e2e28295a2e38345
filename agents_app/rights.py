"""By whose rights a cycle uses tools: of its agent, or of whoever stands there while it has none.

A provider that is away takes the model, not the rights: those come from rows that people wrote.
"""

from __future__ import annotations

from uuid import UUID

from agents_app import selection
from agents_app.agent_config import AgentConfig
from agents_app.models import Agent
from agents_app.selection import Requirements


def agent_of(agent_id: UUID | None, config: AgentConfig) -> Agent | None:
    """The agent whose tools, as far as the schedule names them too, a cycle may use; None: none.

    `agent_id`: the cycle's; without one, whoever could carry it out if its model could be asked.
    """
    if agent_id is not None:
        return Agent.objects.filter(id=agent_id).first()
    return selection.by_rights_of(Requirements.of(config)) if config.tools else None
