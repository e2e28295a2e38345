"""With one key in the environment and nothing else set up, a model plans what the product has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents_app.clients import llm_form
from agents_app.models import Tier
from agents_app.objects import environment
from config.env import env
from executions_app.models import Step
from tests.agents_app.asking import KEY, MODEL
from tests.agents_app.cycle.made import begun, gone_on
from tests.factories import UserFactory
from tests.fakes.model_script import plan_of, plan_step, says_json
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """The one of the environment."""
    llm_form.manners.forget()
    with model_server() as server:
        server.key = KEY
        words = {"openai_api_key": KEY, "openai_base_url": server.url, "llm_model": MODEL}
        monkeypatch.setattr(environment, "env", env.model_copy(update=words))
        yield server


def test_a_schedule_that_names_a_tool_is_planned_by_the_model(model: ModelServer) -> None:
    call = plan_step("s1", "now", target="tool")
    model.on("plan", says_json({**plan_of(1), "steps": [call]}))

    cycle = gone_on(begun(UserFactory.create(), agent=None, endpoints=[], tools=["now"]))

    assert (cycle.tier, cycle.tier_reason) == (Tier.MODEL, "")
    assert [one["name"] for one in cycle.context["tools"]] == ["now"]
    assert Step.objects.get(execution_id=cycle.execution_id).name == "now"


def test_a_tool_that_writes_is_opened_by_a_person_alone(model: ModelServer) -> None:
    cycle = gone_on(begun(UserFactory.create(), agent=None, tools=["remember"], endpoints=["a"]))

    assert cycle.agent_id is None
    assert model.count() == 0
