"""The handler of the other journeys under more names: what is known of each is its own."""

from __future__ import annotations

from typing import Final

from tests.journeys.handlers import Act, ActConfig
from tests.journeys.scenario import EXTRA_HANDLERS as USUAL


class Slow(Act):
    """For runs that take their time, so that nobody expects `act` to."""


class AgentConfig(ActConfig):
    """The same, of the agent that is to do it."""

    agent: str = ""


class Agent(Act):
    """Stands in for the work of agents, as far as limits look at it."""

    config_model = AgentConfig


EXTRA_HANDLERS: Final = ",".join(
    [
        USUAL,
        *(
            f"{name}={one.__module__}.{one.__qualname__}"
            for name, one in (("slow", Slow), ("agent", Agent))
        ),
    ]
)
