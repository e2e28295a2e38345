"""An execution and an agent are brought together, and the result is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents_app.agent_config import AgentConfig
from agents_app.interfaces import errors
from agents_app.interfaces.errors import AgentUnavailable, NoCapableAgent, PlanFailed, ToolFailed
from agents_app.interfaces.executor import AgentTaskExecutor, ExecutionResult, Task
from agents_app.interfaces.handler import AgentTaskHandler
from agents_app.interfaces.registry import Capacity
from agents_app.models import Agent, Provider, Tier
from agents_app.planning.contracts import TaskAnalysis
from agents_app.selection import Absence, Lack, Requirements
from config.env import env
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, ids
from executions_app.ledger import Claimed
from executions_app.models import Step
from tests.agents_app.agents import make_agent, make_busy, make_cycle

STARTED_AT = datetime(2026, 11, 22, tzinfo=UTC)


def task(**config: Any) -> Task:
    words = {"goal": "keep it warm", "endpoints": ["warm"], **config}
    return Task(held(), AgentConfig.model_validate(words))


def held() -> Claimed:
    return Claimed(
        id=uuid4(),
        number=7,
        schedule_id=None,
        owner_id=1,
        snapshot={"name": "warm", "task_type": "agent", "timeout_ms": 60_000},
        parameters={},
        trigger="manual",
        nominal_at=None,
        attempt=1,
        max_attempts=1,
        lease_token=uuid4(),
        started_at=STARTED_AT,
        worker_id="w",
        correlation_id="",
    )


ONE = Agent(name="one", model="small", provider=Provider(name="p"), capabilities=["write"])


class Nobody:
    """A registry without any agent."""

    def __init__(self, lack: Lack = Lack.INCAPABLE, agent: Agent | None = None) -> None:
        self._absence = Absence(lack, f"there is nobody: {lack}")
        self._agent = agent

    def get_agent_by_id(self, agent_id: UUID) -> Agent | None:
        del agent_id
        return self._agent

    def find_capable_agents(self, requirements: Requirements) -> list[Agent]:
        del requirements
        return [self._agent] if self._agent else []

    def find_optimal_agent(self, requirements: Requirements) -> Agent | None:
        del requirements
        return self._agent

    def why_none(self, requirements: Requirements) -> Absence:
        del requirements
        return self._absence

    def is_agent_available(self, agent_id: UUID) -> bool:
        del agent_id
        return self._agent is not None

    def get_agent_capacity(self, agent_id: UUID) -> Capacity | None:
        del agent_id
        return None


class Noting:
    """An executor that only remembers."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def execute_task(self, task: Task) -> None:
        self.tasks.append(task)


def test_a_task_is_given_to_whoever_executes_also_when_there_is_no_agent() -> None:
    executor, given = Noting(), task()

    AgentTaskHandler(registry=Nobody(), executor=executor).handle_task(given)

    assert executor.tasks == [given]


def test_what_a_task_needs_is_what_its_schedule_says_and_what_a_model_adds() -> None:
    handler = AgentTaskHandler(registry=Nobody(), executor=Noting())
    asked = task(agent="one", capabilities=["write"], tools=["search"])
    analysis = TaskAnalysis(needs=("write", "read"), required_tools=("look", "search"))

    said = handler.analyze_task_requirements(asked)
    more = handler.analyze_task_requirements(asked, analysis)

    assert said == Requirements("one", ("write",), ("search",))
    assert more == Requirements("one", ("write", "read"), ("search", "look"))


def test_the_optimal_agent_is_the_registrys() -> None:
    handler = AgentTaskHandler(registry=Nobody(agent=ONE), executor=Noting())

    assert handler.select_optimal_agent(Requirements()) is ONE


@pytest.mark.parametrize(
    ("lack", "error"),
    [
        (Lack.UNKNOWN, NoCapableAgent),
        (Lack.INCAPABLE, NoCapableAgent),
        (Lack.DOWN, AgentUnavailable),
        (Lack.FULL, AgentUnavailable),
    ],
)
def test_for_want_of_an_agent_there_is_an_error_that_says_why(
    lack: Lack, error: type[HandlerError]
) -> None:
    handler = AgentTaskHandler(registry=Nobody(lack), executor=Noting())

    with pytest.raises(error, match=f"there is nobody: {lack}") as caught:
        handler.select_optimal_agent(Requirements())

    assert caught.value.context == {"lack": lack.value}


def test_each_error_of_this_kind_has_its_class() -> None:
    made = {
        NoCapableAgent("none"): ErrorClass.PERMANENT,
        AgentUnavailable("busy"): ErrorClass.TRANSIENT,
        PlanFailed("no plan"): ErrorClass.MALFORMED,
        PlanFailed("no provider", error_class=ErrorClass.TRANSIENT): ErrorClass.TRANSIENT,
        ToolFailed("broke", error_class=ErrorClass.TIMEOUT): ErrorClass.TIMEOUT,
    }

    assert {one: one.error_class for one in made} == made
    assert all(isinstance(one, HandlerError) for one in made)
    assert AgentUnavailable("busy").retry_after == errors.SOON_SECONDS


def test_an_agent_that_does_not_fit_a_task_is_told_apart() -> None:
    executor = AgentTaskExecutor(begin=lambda *_: None)
    fits = task(capabilities=["write"])
    off = Agent(name="off", model="m", provider=ONE.provider, enabled=False)

    assert executor.validate_task_for_agent(fits, ONE) == []
    problems = executor.validate_task_for_agent(task(capabilities=["fly"], tools=["search"]), off)
    assert problems == [
        "The agent 'off' is switched off",
        "The agent 'off' cannot fly",
        "The agent 'off' may not use search",
    ]


def test_a_task_is_executed_by_whatever_begins_cycles() -> None:
    begun: list[tuple[Any, Any]] = []
    given = task()

    AgentTaskExecutor(begin=lambda *both: begun.append(both)).execute_task(given)

    assert begun == [(given.held, given.config)]


def test_the_goal_and_the_limits_of_a_task_become_options() -> None:
    executor = AgentTaskExecutor(begin=lambda *_: None)
    given = task(tools=["search", "look"], strategy="parallel", max_parallel=3, strict=True)
    agent = Agent(name="one", model="small", provider=ONE.provider, tools=["look"])

    options = executor.create_plan_and_execute_options(given, agent)

    assert (options.goal, options.endpoints, options.tools) == (
        "keep it warm",
        ("warm",),
        ("look",),
    )
    assert (options.strategy, options.most_parallel, options.is_strict) == ("parallel", 3, True)
    assert options.deadline == STARTED_AT + timedelta(minutes=1)
    assert (options.model, options.most_steps) == ("small", env.max_plan_steps)
    without = executor.create_plan_and_execute_options(given)
    assert (without.tools, without.model) == (("search", "look"), "")


@pytest.mark.django_db
def test_a_cycle_and_its_steps_become_one_result_and_back() -> None:
    cycle = make_cycle(
        status="completed",
        stage="done",
        tier=Tier.MODEL,
        summary="two called, one failed",
        prompt_tokens=120,
        completion_tokens=30,
        cost_usd=Decimal("0.001200"),
    )
    steps = [
        Step(id=ids.new(clock.now()), name="warm", status="completed", result={"status": 200}),
        Step(
            id=ids.new(clock.now()),
            name="cool",
            status="failed",
            error_class="timeout",
            reason="no answer",
        ),
    ]

    result = AgentTaskExecutor().map_execution_result(cycle, steps)

    assert (result.status, result.summary, result.tier) == (
        "completed",
        "two called, one failed",
        "model",
    )
    assert [one["name"] for one in result.steps] == ["warm", "cool"]
    assert result.errors == ({"step": "cool", "error_class": "timeout", "message": "no answer"},)
    assert (result.prompt_tokens, result.completion_tokens) == (120, 30)
    assert ExecutionResult.from_json(result.as_json()) == result


@pytest.mark.django_db
def test_the_registered_agents_are_asked_unless_others_are_given() -> None:
    make_busy(make_agent("one", max_concurrent=1), places=1)
    handler = AgentTaskHandler(executor=Noting())

    with pytest.raises(AgentUnavailable, match="All places are taken: 'one' \\(1 of 1\\)"):
        handler.select_optimal_agent(Requirements())
    make_agent("two")
    assert handler.select_optimal_agent(Requirements()).name == "two"
