"""How long a plan and its prompt may be: by the steps there may be, and by what the model holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from agents_app import memory
from agents_app.clients import llm_form
from agents_app.cycle import thinking
from agents_app.models import Cycle, ModelCall, Tier
from agents_app.models_memory import MemoryKind
from agents_app.planning import room
from config.env import env
from executions_app.models import Step
from tests.agents_app.agents import make_agent
from tests.agents_app.asking import MODEL, provider_of
from tests.agents_app.cycle.made import an_owner, begun, gone_on
from tests.fakes.model_script import plan_of, says_json
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 40
WHY = "this part of the cache has cooled since the last run, and the next one reads all of it again"
PARAMETERS = '{"region": "europe-west", "path": "/products/by-category", "force": false}'


@pytest.fixture
def owner() -> User:
    return an_owner()


@pytest.fixture
def model() -> Iterator[ModelServer]:
    llm_form.manners.forget()
    with model_server() as server:
        server.on("plan", says_json(plan_of(1, name="alpha")))
        yield server


def long_plan() -> dict[str, Any]:
    plan = plan_of(MANY, name="alpha")
    steps = [{**one, "parameters_json": PARAMETERS, "reason": WHY} for one in plan["steps"]]
    return {**plan, "steps": steps}


def an_agent(model: ModelServer, **entry: Any) -> None:
    make_agent("one", provider=provider_of(model, models=[{"name": MODEL, **entry}]))


def test_a_plan_of_many_steps_arrives_whole(owner: User, model: ModelServer) -> None:
    an_agent(model)
    model.on("plan", says_json(long_plan()))

    cycle = gone_on(begun(owner))

    assert (cycle.tier, cycle.tier_reason) == (Tier.MODEL, "")
    assert Step.objects.filter(execution_id=cycle.execution_id).count() == MANY
    (call,) = ModelCall.objects.filter(cycle_id=cycle.id)
    assert (call.status, call.finish_reason) == ("ok", "stop")
    assert call.completion_tokens > room.ANY_ANSWER  # else any limit would have done
    assert model.asked("plan")[0].most_tokens == room.of_a_plan(env.max_plan_steps)


def test_other_answers_are_as_long_as_ever(owner: User, model: ModelServer) -> None:
    an_agent(model)

    gone_on(begun(owner, analyse=True))

    assert [one.most_tokens for one in model.asked("analyse")][:1] == [room.ANY_ANSWER]


def test_a_setting_bounds_every_answer(
    owner: User, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinking, "env", env.model_copy(update={"llm_answer_tokens": 700}))
    an_agent(model)

    gone_on(begun(owner))

    assert model.asked("plan")[0].most_tokens == 700


def test_where_a_budget_has_no_room_for_a_long_plan_a_short_one_is_asked_for(
    owner: User, model: ModelServer
) -> None:
    an_agent(model)

    cycle = gone_on(begun(owner, budget={"tokens_per_cycle": 6_000}))

    assert cycle.tier == Tier.MODEL
    assert [one.most_tokens for one in model.asked("plan")] == [room.ANY_ANSWER]


def remembering(cycle: Cycle) -> Cycle:
    """Its agent knows more than a small model holds."""
    assert cycle.agent_id is not None
    for number in range(20):
        new = memory.New(
            agent_id=cycle.agent_id,
            owner_id=cycle.owner_id,
            kind=MemoryKind.FACT,
            text=f"fact {number}: " + "the cache is small and cools fast. " * 30,
        )
        memory.remember(new)
    return cycle


@pytest.mark.parametrize(("holds", "most"), [(None, 8_000), (8_000, 3_500), (4_000, 1_600)])
def test_prompt_and_answer_together_are_no_more_than_the_model_holds(
    owner: User, model: ModelServer, holds: int | None, most: int
) -> None:
    an_agent(model, context_tokens=holds)

    cycle = gone_on(remembering(begun(owner)))

    (asked,) = model.asked("plan")
    assert asked.most_tokens is not None
    assert cycle.tier == Tier.MODEL
    prompt = len(asked.prompt) // 4
    assert most / 2 < prompt <= most
    assert holds is None or prompt + asked.most_tokens < holds
