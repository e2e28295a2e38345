"""Agents: what is said of them, who stands in for whom, how much room each has."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from agents_app.models import Agent, Provider
from agents_app.objects import agents, standing
from agents_app.objects.drafts import InUse, Invalid, Unknown
from agents_app.objects.standing import AgentState
from executions_app import clock
from executions_app.audit import SYSTEM
from scheduler_app.models import Schedule
from tests.agents_app.objects import agent, audited, person, provider, working
from tests.factories import ScheduleFactory

pytestmark = pytest.mark.django_db


def scheduled(name: str, **config: Any) -> Schedule:
    """A schedule that an AI carries out, as it is stored."""
    made: Schedule = ScheduleFactory.create(name=name)
    Schedule.objects.filter(id=made.id).update(task_type="agent", task_config=config)
    return made


def state(of: Agent) -> AgentState:
    (found,) = standing.of(agents.with_use().filter(id=of.id), now=clock.now())
    return found.state


def test_an_agent_is_stored_as_it_was_said_and_told() -> None:
    provider(name="local", models=[{"name": "first"}, {"name": "second"}])
    made = agents.create(
        {"name": "warmer", "provider": "local", "capabilities": ["caches", "caches", "a"]},
        actor=SYSTEM,
    )

    row = Agent.objects.get(id=made.id)
    assert (row.model, row.capabilities, row.max_concurrent) == ("first", ["a", "caches"], 5)
    agents.change(row.id, {"max_concurrent": 2}, actor=SYSTEM)
    assert set(audited(row.id)) == {"agent.created", "agent.updated"}
    updated = audited(row.id)["agent.updated"]
    assert (updated.before, updated.after) == ({"max_concurrent": 5}, {"max_concurrent": 2})


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"model": "", "provider": None}, "provider"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": 100_000}, "max_concurrent"),
        ({"instructions": "a" * 8_001}, "instructions"),
        ({"instructions": "a\x00"}, "instructions"),
        ({"capabilities": ["two words"]}, "capabilities"),
        ({"capabilities": [f"c{one}" for one in range(51)]}, "capabilities"),
        ({"tools": ["rm-rf"]}, "tools"),
        ({"fallback_agent": "nobody"}, "fallback_agent"),
        ({"name": "a'b"}, "name"),
        ({"is_from_environment": True}, "is_from_environment"),
    ],
)
def test_what_makes_no_agent_is_refused(words: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        agent(**words)

    assert path in {one.path[0] for one in refused.value.problems}
    assert not Agent.objects.exists()


def test_a_model_has_to_be_named_where_the_provider_lists_none() -> None:
    with pytest.raises(Invalid, match="lists no models"):
        agent(model="")


def test_nobody_stands_in_for_themselves_however_far_around() -> None:
    first = agent(name="first")
    agent(name="second", fallback_agent="first")
    agent(name="third", fallback_agent="second")

    with pytest.raises(Invalid, match="first -> third -> second -> first"):
        agents.change(first.id, {"fallback_agent": "third"}, actor=SYSTEM)
    with pytest.raises(Invalid, match="first -> first"):
        agents.change(first.id, {"fallback_agent": str(first.id)}, actor=SYSTEM)


def test_one_that_is_used_is_neither_removed_nor_renamed_and_says_by_whom() -> None:
    first = agent(name="first")
    agent(name="second", fallback_agent="first")
    schedule = scheduled("nightly", agent="first")
    cycle = working(first, owner=person())

    with pytest.raises(InUse) as refused:
        agents.remove(first.id, actor=SYSTEM)
    for named in ("'nightly'", "'second'", str(cycle.execution_id)):
        assert named in str(refused.value)
    with pytest.raises(Invalid, match="'nightly'"):
        agents.change(first.id, {"name": "other"}, actor=SYSTEM)

    schedule.delete()
    assert agents.change(first.id, {"name": "other"}, actor=SYSTEM).name == "other"
    alone = agent()
    agents.remove(alone.id, actor=SYSTEM)
    with pytest.raises(Unknown):
        agents.change(alone.id, {}, actor=SYSTEM)


def test_running_cycles_that_have_begun_use_places(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    owner, busy, idle = person(), agent(name="busy", max_concurrent=3), agent(name="idle")
    working(busy, owner=owner, stage="plan")
    working(busy, owner=owner, stage="execute")
    working(busy, owner=owner, stage="done", status="completed")
    working(busy, owner=owner, stage="execute", status="failed")
    working(None, owner=owner, stage="wait")

    now = clock.now()
    with django_assert_num_queries(2):
        found = standing.of(agents.with_use().order_by("name"), now=now)

    assert [(one.agent, one.capacity.used, one.capacity.free) for one in found] == [
        (busy, 2, 1),
        (idle, 0, 5),
    ]
    assert found[0].capacity.utilisation == 0.6667


def test_the_number_of_queries_does_not_grow_with_the_agents(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(12):
        agent()

    now = clock.now()
    with django_assert_num_queries(2):
        assert len(standing.of(agents.with_use(), now=now)) == 12


def test_a_state_says_whether_a_cycle_could_get_the_agent() -> None:
    later = clock.now() + timedelta(minutes=5)
    one = agent(name="one", max_concurrent=1)
    assert state(one) == AgentState.AVAILABLE

    cycle = working(one, owner=person())
    assert state(one) == AgentState.FULL
    cycle.delete()
    Agent.objects.filter(id=one.id).update(unhealthy_until=later)
    assert state(one) == AgentState.UNHEALTHY
    Provider.objects.update(unhealthy_until=later)
    assert state(one) == AgentState.UNREACHABLE
    stand_in = provider()
    Provider.objects.filter(id=one.provider_id).update(fallback_provider=stand_in)
    assert state(one) == AgentState.UNHEALTHY
    agents.change(one.id, {"enabled": False}, actor=SYSTEM)
    assert state(one) == AgentState.DISABLED
    again = agents.change(one.id, {"enabled": True}, actor=SYSTEM)
    assert (again.unhealthy_until, state(one)) == (None, AgentState.AVAILABLE)
