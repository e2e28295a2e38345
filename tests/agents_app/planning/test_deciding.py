"""Who plans and who advises: a model and what stands in for one keep the same contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from agents_app.agent_config import AgentConfig
from agents_app.clients import llm_form
from agents_app.cycle.keeping import Work
from agents_app.cycle.thinking import Thinker
from agents_app.models import CycleStage, Tier
from agents_app.models_cycles import Phase
from agents_app.planning import authority, validation
from agents_app.planning.authority import Offer
from agents_app.planning.context import Earlier
from agents_app.planning.contracts import Plan, PlanStep
from agents_app.planning.deciding import AIAgentService, NoModel, PlanRequest, ScheduleRequest
from agents_app.planning.deciding_by_fallback import FallbackService
from agents_app.planning.deciding_by_ladder import LadderService
from agents_app.planning.deciding_by_model import ModelService, Thought
from agents_app.planning.fallback import FallbackConfig, Trouble
from agents_app.planning.fallback_timing import Situation
from agents_app.planning.job_context import EndpointFacts, Job, JobContext, Limits
from agents_app.planning.judging import Contract
from agents_app.planning.prompts import Rendered
from agents_app.planning.validation import AdviceLimits, PlanLimits
from executions_app import clock
from tests.agents_app.agents import make_agent, make_cycle
from tests.agents_app.asking import KEY, provider_of
from tests.fakes.model_script import says_json
from tests.fakes.model_server import ModelServer, model_server

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
BOUNDS = Limits(max_messages=20, max_endpoint_usage=20, max_tokens=8000)
RIGHTS = authority.grant(
    [Offer(target="endpoint", name=one) for one in ("warm-eu", "warm-us")],
    endpoints=["warm-eu", "warm-us"],
    tools=[],
    agent_tools=[],
)
CONTEXT = JobContext(
    job=Job(name="warm", goal="keep it warm", interval_ms=60_000),
    now=NOW,
    endpoints=(EndpointFacts(name="warm-eu"), EndpointFacts(name="warm-us")),
)
PLANNING = PlanRequest(
    context=CONTEXT, rights=RIGHTS, limits=PlanLimits(most_steps=50), bounds=BOUNDS
)
SCHEDULING = ScheduleRequest(
    context=CONTEXT,
    limits=AdviceLimits(now=NOW, min_interval_ms=1_000, max_interval_ms=3_600_000),
    bounds=BOUNDS,
    summary="both are warm",
    outcome="ok",
)
A_PLAN: dict[str, Any] = {
    "strategy": "parallel",
    "concurrency": 2,
    "steps": [
        {
            "id": f"s{number}",
            "target": "endpoint",
            "name": name,
            "parameters_json": "{}",
            "depends_on": [],
            "priority": 50,
            "critical": False,
            "reason": "it cools",
        }
        for number, name in enumerate(("warm-eu", "warm-us"), start=1)
    ],
    "reason": "both cool",
    "confidence": 0.9,
}
AN_ADVICE: dict[str, Any] = {
    "action": "interval",
    "next_run_at": None,
    "interval_ms": 120_000,
    "pause_until": None,
    "reason": "it stays warm",
    "confidence": 0.8,
    "recommended_actions": [],
}


class Scripted:
    """Thinks what it is told to, as far as the contract takes it."""

    def __init__(
        self, *answers: dict[str, Any], tier: Tier = Tier.MODEL, notes: tuple[str, ...] = ()
    ) -> None:
        self._answers = list(answers)
        self._tier, self._notes = tier, notes
        self.asked: list[tuple[Phase, Rendered]] = []

    def think(self, contract: Contract[Any], rendered: Rendered, *, phase: Phase) -> Thought[Any]:
        self.asked.append((phase, rendered))
        if not self._answers:
            raise NoModel(Trouble.DOWN, "nobody answers")
        judged = contract.judge(json.dumps(self._answers.pop(0)))
        if judged.value is None:
            raise NoModel(Trouble.MALFORMED, str(judged.problems))
        return Thought(value=judged.value, tier=self._tier, notes=self._notes)


def by_model() -> ModelService:
    return ModelService(Scripted(A_PLAN, AN_ADVICE))


def by_fallback(trouble: Trouble = Trouble.DOWN, **more: Any) -> FallbackService:
    situation = Situation(now=NOW, next_run_at=NOW + timedelta(minutes=1), interval_ms=60_000)
    return FallbackService(trouble, situation=situation, config=FallbackConfig(), **more)


@pytest.fixture
def by_a_real_server() -> Iterator[Callable[[], ModelService]]:
    """The model of an agent behind a server that speaks the OpenAI protocol."""
    llm_form.manners.forget()
    with model_server() as server:
        server.key = KEY
        server.script.on("plan", says_json(A_PLAN))
        server.script.on("schedule", says_json(AN_ADVICE))
        yield lambda: ModelService(thinker_at(server))


def thinker_at(server: ModelServer) -> Thinker:
    agent = make_agent("one", provider=provider_of(server))
    cycle = make_cycle("one", agent_id=agent.id, stage=CycleStage.PLAN)
    work = Work(
        cycle.id,
        uuid4(),
        execution_id=cycle.execution_id,
        deadline=clock.now() + timedelta(minutes=1),
        is_stage=True,
    )
    config = AgentConfig(goal="keep it warm", endpoints=["warm-eu"])
    return Thinker(cycle, config, work, request_id="r-1")


@pytest.fixture(params=["model", "server", "fallback", "ladder"])
def make(request: pytest.FixtureRequest) -> Callable[[], AIAgentService]:
    if request.param == "server":
        request.getfixturevalue("transactional_db")
        found: Callable[[], AIAgentService] = request.getfixturevalue("by_a_real_server")
        return found
    ways: dict[str, Callable[[], AIAgentService]] = {
        "model": by_model,
        "fallback": by_fallback,
        "ladder": lambda: by_ladder(by_model())[0],
    }
    return ways[request.param]


def test_both_plan_what_may_be_called_and_advise_within_the_limits(
    make: Callable[[], AIAgentService],
) -> None:
    service = make()

    planned, advised = service.plan(PLANNING), service.schedule(SCHEDULING)

    assert planned.plan is not None
    assert validation.plan_problems(planned.plan, rights=RIGHTS, limits=PLANNING.limits) == []
    assert {one.name for one in planned.plan.steps} == {"warm-eu", "warm-us"}
    assert planned.tier != Tier.NONE
    assert validation.advice_problems(advised.advice, limits=SCHEDULING.limits) == []
    assert advised.source


def test_a_model_is_told_all_that_is_known_and_what_its_answer_must_look_like() -> None:
    thinker = Scripted(A_PLAN, AN_ADVICE)
    service = ModelService(thinker)

    service.plan(PLANNING)
    service.schedule(SCHEDULING)

    (first, planning), (second, scheduling) = thinker.asked
    assert (first, second) == (Phase.PLAN, Phase.SCHEDULE)
    assert (planning.template, scheduling.template) == ("plan", "schedule")
    assert "keep it warm" in planning.messages[-1].content
    assert "warm-us" in planning.messages[-1].content
    assert "both are warm" in scheduling.messages[-1].content


def test_a_plan_of_another_provider_says_why() -> None:
    notes = ("own: answered 503", "one step was left out")
    thinker = Scripted(A_PLAN, tier=Tier.OTHER_PROVIDER, notes=notes)

    planned = ModelService(thinker).plan(PLANNING)

    assert (planned.tier, planned.reason) == (Tier.OTHER_PROVIDER, "own: answered 503")
    assert planned.notes == notes


def test_a_plan_that_names_what_may_not_be_called_is_none() -> None:
    steps = [{**A_PLAN["steps"][0], "name": "drop-everything"}]

    with pytest.raises(NoModel, match="drop-everything") as caught:
        ModelService(Scripted({**A_PLAN, "steps": steps})).plan(PLANNING)

    assert caught.value.trouble is Trouble.MALFORMED


def test_without_a_model_there_is_no_plan_and_no_advice_of_one() -> None:
    service = ModelService(Scripted())

    with pytest.raises(NoModel, match="nobody answers"):
        service.plan(PLANNING)
    with pytest.raises(NoModel, match="nobody answers"):
        service.schedule(SCHEDULING)


def test_the_last_good_plan_stands_in_before_the_declared_order() -> None:
    good = Plan("sequential", 1, (PlanStep("s1", "endpoint", "warm-us"),))
    unknown = Plan("sequential", 1, (PlanStep("s1", "endpoint", "gone"),))

    last_good = by_fallback(earlier=Earlier(plans=(unknown, good))).plan(PLANNING)
    declared = by_fallback(earlier=Earlier(plans=(unknown,))).plan(PLANNING)

    assert (last_good.plan, last_good.tier) == (good, Tier.LAST_GOOD)
    assert declared.tier is Tier.DETERMINISTIC
    assert declared.reason == "the model cannot be reached"


def test_a_call_without_a_model_is_made_as_it_is_registered() -> None:
    token = {"type": "string", "default": "of-the-registration"}
    schema = {"type": "object", "properties": {"token": token, "region": {"type": "string"}}}
    offer = Offer(target="endpoint", name="warm-us", schema=schema, critical=True)
    rights = authority.grant([offer], endpoints=["warm-us"], tools=[], agent_tools=[])
    told = JobContext(
        job=Job(name="warm", goal="keep it warm", parameters={"region": "[scrubbed]"}),
        now=NOW,
        endpoints=(EndpointFacts(name="warm-us", parameters_schema={"properties": {}}),),
    )

    planned = by_fallback().plan(
        PlanRequest(
            context=told,
            rights=rights,
            limits=PLANNING.limits,
            bounds=BOUNDS,
            parameters={"region": "us", "unknown": 1},
        )
    )

    assert planned.plan is not None
    (step,) = planned.plan.steps
    assert step.parameters == {"token": "of-the-registration", "region": "us"}
    assert step.critical


def by_ladder(model: AIAgentService) -> tuple[LadderService, list[Trouble]]:
    asked: list[Trouble] = []

    def stand_in(trouble: Trouble) -> AIAgentService:
        asked.append(trouble)
        return by_fallback(trouble)

    return LadderService(model, stand_in=stand_in), asked


def test_where_the_model_decides_nobody_stands_in_for_it() -> None:
    ladder, asked = by_ladder(by_model())

    planned, advised = ladder.plan(PLANNING), ladder.schedule(SCHEDULING)

    assert (planned.tier, planned.reason, planned.trouble) == (Tier.MODEL, "", None)
    assert (advised.source, advised.notes) == ("model", ())
    assert asked == []


def test_where_it_does_not_what_stands_in_does_and_says_why() -> None:
    ladder, asked = by_ladder(ModelService(Scripted()))

    planned, advised = ladder.plan(PLANNING), ladder.schedule(SCHEDULING)

    assert (planned.tier, planned.trouble) == (Tier.DETERMINISTIC, Trouble.DOWN)
    assert planned.reason == "the model cannot be reached: nobody answers"
    assert planned.notes == ()
    assert advised.source == "fallback:interval"
    assert advised.notes == ("The model did not say when to run next: nobody answers",)
    assert asked == [Trouble.DOWN, Trouble.DOWN]


def test_an_endpoint_that_may_not_be_called_is_in_no_plan_that_stands_in() -> None:
    fewer = authority.grant(
        [Offer(target="endpoint", name="warm-us")],
        endpoints=["warm-us"],
        tools=[],
        agent_tools=[],
    )
    request = PlanRequest(context=CONTEXT, rights=fewer, limits=PLANNING.limits, bounds=BOUNDS)

    planned = by_fallback().plan(request)

    assert planned.plan is not None
    assert [one.name for one in planned.plan.steps] == ["warm-us"]
