"""The parts of a task that an analysis found, and which come before which, feed the plan."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents_app.clients import llm_form
from agents_app.models import Tier
from executions_app.models import Step
from tests.agents_app.agents import make_agent
from tests.agents_app.asking import KEY, provider_of
from tests.agents_app.cycle.made import an_owner, begun, gone_on
from tests.fakes.model_script import plan_of, plan_step, says_json
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db(transaction=True)

PARTS = [
    {"id": "look", "goal": "see which caches are cold", "depends_on": []},
    {"id": "warm", "goal": "warm the cold ones", "depends_on": ["look"]},
]
ANALYSIS = {
    "needs": [],
    "complexity": "medium",
    "required_tools": [],
    "sub_tasks": PARTS,
    "reason": "only cold caches need it",
}
PLAN = {
    **plan_of(1, name="alpha"),
    "strategy": "dependency",
    "steps": [plan_step("look", "alpha"), plan_step("warm", "alpha", "look")],
}


@pytest.fixture
def model() -> Iterator[ModelServer]:
    llm_form.manners.forget()
    with model_server() as made:
        made.key = KEY
        made.on("analyse", says_json(ANALYSIS))
        made.on("plan", says_json(PLAN))
        yield made


def test_the_parts_of_a_task_and_their_order_are_kept_and_told_to_whoever_plans(
    model: ModelServer,
) -> None:
    make_agent("one", provider=provider_of(model))

    cycle = gone_on(begun(an_owner(), analyse=True))

    assert cycle.analysis["sub_tasks"] == PARTS
    (asked,) = model.asked("plan")
    told = asked.prompt.split("analysis", 1)[1]
    for part in PARTS:
        assert str(part["goal"]) in told
    assert '"depends_on":["look"]' in "".join(told.split())


def test_a_plan_keeps_the_order_that_the_analysis_found(model: ModelServer) -> None:
    make_agent("one", provider=provider_of(model))

    cycle = gone_on(begun(an_owner(), analyse=True))

    first, second = Step.objects.filter(execution_id=cycle.execution_id).order_by("position")
    assert cycle.tier == Tier.MODEL
    assert (first.depends_on, second.depends_on) == ([], [first.id])
    assert (first.wave, second.wave) == (0, 1)


def test_without_an_analysis_nothing_is_told_of_parts(model: ModelServer) -> None:
    make_agent("one", provider=provider_of(model))

    cycle = gone_on(begun(an_owner(), analyse=False))

    assert cycle.analysis == {}
    assert model.count("analyse") == 0
    assert "see which caches are cold" not in model.asked("plan")[0].prompt
