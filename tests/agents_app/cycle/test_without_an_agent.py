"""While its model is away a cycle has no agent, and uses the tools that people opened for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents_app.cycle import ending, stages
from agents_app.models import Agent, Cycle, CycleStage, CycleStatus, Provider, Tier
from agents_app.planning.contracts import Plan, PlanStep
from agents_app.replay import recorded, standards
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, ids
from executions_app.models import Execution, Step
from executions_app.states import ExecutionStatus, Outcome
from tests.agents_app.agents import make_agent, make_cycle
from tests.agents_app.cycle.driving import (
    Calls,
    begun,
    calls,
    carry_out,
    ends,
    execution_of,
    queued,
    step_of,
    stored,
)
from tests.agents_app.cycle.test_begin import queued_again

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["calls"]  # a fixture

TOOLS = ["a", "b"]


@pytest.fixture
def agent() -> Agent:
    return make_agent("one", tools=TOOLS, max_concurrent=5)


def away() -> None:
    """The provider of all agents does not answer, and is left out."""
    until = clock.now() + timedelta(minutes=10)
    Provider.objects.update(unhealthy_until=until, failures_in_row=3)


def planned_well_before(*names: str) -> UUID:
    """A schedule whose last run a model has planned: these tools."""
    schedule_id = uuid4()
    called = tuple(PlanStep(id=name, target="tool", name=name) for name in names)
    plan = Plan("sequential", 1, called, reason="it helps", confidence=0.9)
    make_cycle(
        id=ids.new(clock.now() - timedelta(minutes=1)),
        schedule_id=schedule_id,
        status=CycleStatus.COMPLETED,
        stage=CycleStage.DONE,
        tier=Tier.MODEL,
        plan=plan.as_json(),
    )
    return schedule_id


def planned(schedule_id: UUID, **config: Any) -> Cycle:
    """The next run of the schedule, and its plan stage is over."""
    execution_id = queued(**{"agent": "one", "tools": TOOLS, **config})
    Execution.objects.filter(id=execution_id).update(schedule_id=schedule_id)
    cycle = begun(execution_id)
    stages.run_stage(cycle.id)
    return stored(cycle)


@pytest.mark.parametrize("named", [{"agent": "one"}, {"agent": None}])
@pytest.mark.usefixtures("agent")
def test_the_last_good_plan_is_carried_out_with_its_tools_while_the_model_is_away(
    named: dict[str, Any], calls: Calls
) -> None:
    schedule_id = planned_well_before("a", "b")
    away()

    cycle = planned(schedule_id, **named)
    carry_out(cycle, "a", "b")

    assert (cycle.agent_id, cycle.tier) == (None, Tier.LAST_GOOD)
    assert calls.begun == ["a", "b"]
    done = execution_of(cycle)
    assert (done.status, done.outcome) == (ExecutionStatus.COMPLETED, Outcome.DEGRADED)


@pytest.mark.usefixtures("agent")
def test_another_attempt_without_an_agent_carries_out_the_tools_of_its_plan(calls: Calls) -> None:
    cycle = planned(planned_well_before("a", "b"))
    calls.failing.add("b")
    carry_out(cycle, "a")
    ending.fail(cycle, HandlerError("a hiccup", error_class=ErrorClass.TRANSIENT))
    calls.failing.clear()
    away()

    again = begun(queued_again(cycle.execution_id))
    carry_out(again, "b")

    assert again.agent_id is None
    assert ends(again) == {"a": "completed", "b": "completed"}
    assert execution_of(again).status == ExecutionStatus.COMPLETED


@pytest.mark.parametrize(
    "closed",
    [
        pytest.param({"enabled": False}, id="switched off"),
        pytest.param({"tools": ["a"]}, id="its tool was taken"),
    ],
)
def test_what_people_have_closed_stays_closed_while_the_model_is_away(
    closed: dict[str, Any], agent: Agent, calls: Calls
) -> None:
    make_agent("another", tools=TOOLS)
    schedule_id = planned_well_before("a", "b")
    Agent.objects.filter(id=agent.id).update(**closed)
    away()

    cycle = planned(schedule_id)

    assert cycle.tier == Tier.BASELINE
    assert not Step.objects.exists()
    assert calls.begun == []


def test_a_tool_that_is_closed_after_the_plan_was_made_is_refused(
    agent: Agent, calls: Calls
) -> None:
    schedule_id = planned_well_before("a", "b")
    away()
    cycle = planned(schedule_id)
    Agent.objects.filter(id=agent.id).update(tools=["a"])

    carry_out(cycle, "a")

    assert calls.begun == []
    assert step_of(cycle, "a").error_class == "permanent"


def test_a_stand_in_that_is_away_too_gives_its_own_tools_and_no_others(
    agent: Agent, calls: Calls
) -> None:
    stand_in = make_agent("stand-in", tools=["b"])
    Agent.objects.filter(id=agent.id).update(enabled=False, fallback_agent=stand_in)
    only_b, both = planned_well_before("b"), planned_well_before("a", "b")
    away()

    assert planned(both).tier == Tier.BASELINE
    cycle = planned(only_b)
    carry_out(cycle, "b")

    assert (cycle.tier, calls.begun) == (Tier.LAST_GOOD, ["b"])


@pytest.mark.usefixtures("agent")
def test_a_schedule_that_names_no_tools_has_none_while_the_model_is_away() -> None:
    schedule_id = planned_well_before("a")
    away()

    assert planned(schedule_id, tools=[], endpoints=["nothing"]).tier == Tier.BASELINE


@pytest.mark.usefixtures("agent", "calls")
def test_a_replay_holds_such_a_plan_to_the_tools_that_it_had() -> None:
    schedule_id = planned_well_before("a")
    away()
    cycle = planned(schedule_id)

    kept = recorded.of_cycle(cycle)

    assert set(standards.of_then(kept).tools) == set(TOOLS)
    assert set(standards.of_today(kept, config=kept.config).tools) == set(TOOLS)
