"""The plan stage of a cycle and a model that answers over HTTP: what it is told, what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from django.contrib.auth.models import User

from agents_app.clients import llm_form
from agents_app.cycle import deciders, holder, making, rows
from agents_app.cycle.keeping import Work
from agents_app.models import Cycle, CycleStage, Tier
from agents_app.models_cycles import Phase
from agents_app.planning.deciding import NoModel
from agents_app.planning.judging import SummaryContract
from agents_app.planning.prompts import Rendered
from errors_app import history, recovery
from errors_app.incidents import folding
from errors_app.models import ErrorRecord, Incident
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, ids
from executions_app.models import Event, Execution, Step
from tests.agents_app.agents import make_agent
from tests.agents_app.asking import KEY, provider_at, provider_of
from tests.agents_app.cycle.made import GOAL, an_owner, begun, gone_on
from tests.fakes.model_script import empty, fails, plan_of, plan_step, says_json
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db(transaction=True)

TOOLS = ["now", "json_extract", "wait"]
NOTHING_ASKED = Rendered(messages=(), template="", template_hash="", estimated_tokens=0)


@pytest.fixture
def owner() -> User:
    return an_owner()


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as made:
        made.key = KEY
        yield made


@pytest.fixture
def model(server: ModelServer) -> ModelServer:
    llm_form.manners.forget()
    server.script.forget()
    server.on("plan", says_json(plan_of(1, name="alpha")))
    return server


def work_of(cycle: Cycle) -> Work:
    held = rows.hold_stage(cycle.id)
    assert held is not None
    assert held.stage_token is not None
    return Work(
        cycle.id,
        held.stage_token,
        execution_id=cycle.execution_id,
        deadline=cycle.deadline,
        is_stage=True,
    )


def test_a_model_of_no_use_leaves_an_error_record_and_the_cycle_goes_on(
    owner: User, model: ModelServer
) -> None:
    make_agent("one", provider=provider_of(model))
    model.on("plan", empty())

    cycle = gone_on(begun(owner))

    assert (cycle.stage, cycle.tier) == (CycleStage.EXECUTE, Tier.DETERMINISTIC)
    (record,) = ErrorRecord.objects.filter(execution_id=cycle.execution_id)
    assert (record.exception_type, record.error_class) == ("MalformedResponseError", "malformed")
    told = record.context
    assert (told["phase"], told["attempts"]) == ("plan", 3)  # two repairs
    assert told["malformed_class"] == "repair_failed"
    assert told["refused_as"] == "empty_response"
    assert (record.attempt, record.recovery_status, record.severity) == (0, "resolved", "low")
    assert Execution.objects.get(id=cycle.execution_id).status == "running"
    lines = [one.type for one in history.lines(cycle.execution_id)]
    assert lines.count("error:recorded") == 1


def test_a_phase_that_is_done_again_leaves_no_second_record(
    owner: User, model: ModelServer
) -> None:
    make_agent("one", provider=provider_of(model))
    model.on("plan", empty())
    cycle = begun(owner)
    work, held = work_of(cycle), holder.of(cycle)

    made = [making.make(cycle, held, work) for _ in range(2)]

    assert {one.tier for one in made} == {Tier.DETERMINISTIC}
    assert ErrorRecord.objects.filter(execution_id=cycle.execution_id).count() == 1


def test_who_has_lost_the_execution_records_nothing(owner: User, model: ModelServer) -> None:
    make_agent("one", provider=provider_of(model))
    model.on("plan", empty())
    cycle = begun(owner)
    work, held = work_of(cycle), holder.of(cycle)
    recovery.recover(held, HandlerError("over", error_class=ErrorClass.PERMANENT), rng=Random(0))

    making.make(cycle, held, work)

    types = ErrorRecord.objects.values_list("exception_type", flat=True)
    assert list(types) == ["HandlerError"]


def test_a_provider_that_does_not_answer_is_recorded_though_another_stands_in(
    owner: User, model: ModelServer
) -> None:
    other = provider_of(model, name="other")
    first = provider_at("http://127.0.0.1:9/v1", name="first", fallback_provider=other)
    make_agent("one", provider=first)

    cycle = gone_on(begun(owner))

    assert cycle.tier == Tier.OTHER_PROVIDER
    (record,) = ErrorRecord.objects.filter(execution_id=cycle.execution_id)
    assert (record.error_class, record.context["part"]) == ("transient", "plan")


def test_that_nobody_has_set_up_a_model_is_no_error(owner: User) -> None:
    make_agent("one", provider=provider_at("", key=""))

    cycle = gone_on(begun(owner))

    assert cycle.tier == Tier.DETERMINISTIC
    assert not ErrorRecord.objects.exists()


def test_what_a_cycle_got_over_is_an_incident_that_nobody_is_told_of(
    owner: User, model: ModelServer
) -> None:
    make_agent("one", provider=provider_of(model), max_concurrent=5)
    model.on("plan", empty(), empty(), empty(), fails(401, "no"))
    for _ in range(2):
        gone_on(begun(owner))

    folding.fold()

    kinds = Incident.objects.order_by("exception_type")
    assert [(one.exception_type, one.status, one.severity) for one in kinds] == [
        ("MalformedResponseError", "resolved", "low"),
        ("ModelError", "resolved", "low"),
    ]
    assert not Event.objects.filter(type__startswith="incident:").exists()


def needs(*tools: str) -> Any:
    return says_json(
        {
            "needs": [],
            "complexity": "low",
            "required_tools": list(tools),
            "sub_tasks": [],
            "reason": "it says so",
        }
    )


def test_two_tasks_are_offered_two_sets_of_tools(owner: User, model: ModelServer) -> None:
    make_agent("one", provider=provider_of(model), tools=TOOLS, max_concurrent=5)
    model.on("analyse", needs("json_extract"), needs("now", "wait"))

    offered = []
    for _ in range(2):
        cycle = gone_on(begun(owner, analyse=True, tools=TOOLS))
        offered.append([one["name"] for one in cycle.context["tools"]])
        assert cycle.analysis["required_tools"] == offered[-1]

    assert offered == [["json_extract"], ["now", "wait"]]
    first, second = (one.prompt for one in model.asked("plan")[-2:])
    assert '"json_extract"' in first
    assert '"json_extract"' not in second
    assert all(f'"{name}"' in model.asked("analyse")[-1].prompt for name in TOOLS)


def test_no_analysis_offers_a_tool_that_was_not_granted(owner: User, model: ModelServer) -> None:
    provider = provider_of(model)
    other = make_agent("other", provider=provider, tools=["now", "json_extract"])
    make_agent("one", provider=provider, tools=TOOLS, enabled=False, fallback_agent=other)
    model.on("analyse", needs("wait", "remember", "now"))
    call = plan_step("s1", "wait", target="tool")
    model.on("plan", says_json({**plan_of(1, name="alpha"), "steps": [call]}))

    cycle = gone_on(begun(owner, analyse=True, tools=TOOLS))

    assert [one["name"] for one in cycle.context["tools"]] == ["now"]
    assert cycle.tier == Tier.DETERMINISTIC


def test_without_an_analysis_all_granted_tools_are_offered_unless_the_goal_says_more(
    owner: User, model: ModelServer
) -> None:
    make_agent("one", provider=provider_of(model), tools=TOOLS, max_concurrent=5)

    silent = gone_on(begun(owner, tools=TOOLS))
    telling = gone_on(begun(owner, tools=TOOLS, goal="wait a second"))

    assert [one["name"] for one in silent.context["tools"]] == TOOLS
    assert [one["name"] for one in telling.context["tools"]] == ["wait"]


@pytest.mark.parametrize("given", ["order-7", "", "two words"])
def test_each_question_names_the_request_that_it_comes_from_or_the_execution(
    owner: User, model: ModelServer, given: str
) -> None:
    make_agent("one", provider=provider_of(model))
    cycle = begun(owner, autonomy="shadow", schedule_id=ids.new(clock.now()))
    Execution.objects.filter(id=cycle.execution_id).update(correlation_id=given)

    planned = gone_on(cycle)
    Step.objects.filter(execution_id=cycle.execution_id).update(status="completed", result={})
    Cycle.objects.filter(id=planned.id).update(stage=CycleStage.SUMMARISE)
    gone_on(planned)

    expected = given if given == "order-7" else str(cycle.execution_id)
    phases = ("plan", "summarise", "schedule")
    asked = [one for one in model.asked() if one.phase in phases]
    told = {one.phase: one.headers["x-request-id"] for one in asked}
    assert told == dict.fromkeys(phases, expected)


def test_a_model_that_did_not_plan_is_not_asked_for_advice(owner: User) -> None:
    cycle = Cycle(tier=Tier.DETERMINISTIC, trouble="budget_spent", tier_reason="the day's is spent")
    config = holder.config_in({"task_config": {"goal": GOAL, "endpoints": ["alpha"]}})

    thinker = deciders.after_plan(cycle, config, work_of(begun(owner)), request_id="r-1")

    with pytest.raises(NoModel, match="the day's is spent") as caught:
        thinker.think(SummaryContract(), NOTHING_ASKED, phase=Phase.SUMMARISE)
    assert caught.value.trouble == "budget_spent"
