"""Which agents there are, and how much each can take on."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from agents_app.interfaces.registry import AgentRegistry, TaskAgentRegistry
from agents_app.models import Agent
from agents_app.objects import agents, standing
from agents_app.selection import Requirements
from executions_app import clock
from tests.agents_app.agents import make_agent, make_busy, make_provider

pytestmark = pytest.mark.django_db
registry: AgentRegistry = TaskAgentRegistry()


def test_an_agent_is_found_by_its_id_and_nobody_by_another() -> None:
    agent = make_agent("one")

    assert registry.get_agent_by_id(agent.id) == agent
    assert registry.get_agent_by_id(uuid4()) is None


def test_capable_agents_are_those_that_can_all_of_it_the_least_loaded_first() -> None:
    make_agent("reader", capabilities=["read"])
    make_busy(make_agent("busy writer", capabilities=["write", "read"]), places=2)
    make_agent("writer", capabilities=["write"], fallback_agent=make_agent("stand-in"))

    found = registry.find_capable_agents(Requirements(capabilities=("write",)))

    assert [one.name for one in found] == ["writer", "busy writer"]
    assert registry.find_capable_agents(Requirements(capabilities=("fly",))) == []


def test_an_agent_is_available_while_it_is_up_and_has_a_place() -> None:
    agent = make_agent("one", max_concurrent=1)
    seen = [registry.is_agent_available(agent.id)]

    Agent.objects.filter(id=agent.id).update(enabled=False)
    seen.append(registry.is_agent_available(agent.id))
    until = clock.now() + timedelta(minutes=1)
    Agent.objects.filter(id=agent.id).update(enabled=True, unhealthy_until=until)
    seen.append(registry.is_agent_available(agent.id))
    Agent.objects.filter(id=agent.id).update(unhealthy_until=None)
    make_busy(agent, places=1)
    seen.append(registry.is_agent_available(agent.id))

    assert seen == [True, False, False, False]
    assert registry.is_agent_available(uuid4()) is False


def test_the_capacity_of_an_agent_is_said() -> None:
    agent = make_agent("one", max_concurrent=4)
    make_busy(agent, places=3)

    capacity = registry.get_agent_capacity(agent.id)

    assert capacity is not None
    assert (capacity.max, capacity.used, capacity.free) == (4, 3, 1)
    assert capacity.utilisation == 0.75
    assert registry.get_agent_capacity(uuid4()) is None


def test_the_optimal_agent_is_the_one_that_would_be_given_a_place() -> None:
    full = make_agent("full", max_concurrent=1, fallback_agent=make_agent("stand-in"))
    make_busy(full, places=1)

    named = registry.find_optimal_agent(Requirements(agent="full"))

    assert named is not None
    assert named.name == "stand-in"
    assert registry.find_optimal_agent(Requirements(agent="nobody")) is None


@pytest.mark.parametrize("stand_ins", [4, 5])
def test_as_many_providers_stand_in_for_one_for_who_looks_as_for_who_chooses(
    stand_ins: int,
) -> None:
    provider = make_provider("up")
    for number in range(stand_ins):
        provider = make_provider(f"down {number}", fallback_provider=provider, enabled=False)
    agent = make_agent("one", provider=provider)

    (stands,) = standing.of(agents.with_use().filter(id=agent.id), now=clock.now())

    is_shown = stands.state is standing.AgentState.AVAILABLE
    assert (is_shown, registry.is_agent_available(agent.id)) == (stand_ins == 4, stand_ins == 4)
