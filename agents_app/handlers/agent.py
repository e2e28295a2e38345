"""Carries out `agent`, whose work an AI plans: the handler begins a cycle and hands over to it."""

from __future__ import annotations

from agents_app.agent_config import AgentConfig
from agents_app.context import RunContext
from agents_app.cycle import begin
from agents_app.handlers.base import Context, HandedOver, Handler


class Agent(Handler[AgentConfig]):
    """Goes to the plan/execute/summarise/schedule cycle; the thread is free from then on."""

    config_model = AgentConfig
    nature = "io"

    def run(self, context: Context[AgentConfig]) -> HandedOver:
        """Begin the cycle, or go on with the one that an earlier attempt began."""
        assert isinstance(context, RunContext)  # a cycle needs the lease, not only its context
        begin.begin(context.claimed, context.config)
        return HandedOver()
