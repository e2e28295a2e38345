"""Carries out `agent`, whose work an AI plans: the handler begins a cycle and hands over to it."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError

from agents_app.agent_config import AgentConfig
from agents_app.context import RunContext
from agents_app.handlers.base import Context, HandedOver, Handler
from agents_app.interfaces.executor import Task
from agents_app.interfaces.handler import AgentTaskHandler
from errors_app.taxonomy import ErrorClass, HandlerError


class Agent(Handler[AgentConfig]):
    """Goes to the plan/execute/summarise/schedule cycle; the thread is free from then on."""

    config_model = AgentConfig
    nature = "io"

    def run(self, context: Context[AgentConfig]) -> HandedOver:
        """Begin the cycle, or go on with the one that an earlier attempt began."""
        assert isinstance(context, RunContext)  # a cycle needs the lease, not only its context
        try:
            AgentTaskHandler().handle_task(Task(context.claimed, context.config))
        except (OperationalError, InterfaceError) as error:
            raise HandlerError(
                f"The cycle could not be begun, and nothing was called: {error}",
                error_class=ErrorClass.TRANSIENT,
                may_repeat=True,
            ) from error
        return HandedOver()
