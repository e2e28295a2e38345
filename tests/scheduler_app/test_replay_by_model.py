"""Replay of a cycle with another model: it is asked within budgets, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User

from agents_app import budget, usage
from agents_app.agent_config import Budget
from agents_app.clients import llm_form
from agents_app.clients.llm_question import Of
from agents_app.cycle import spent
from agents_app.models import Agent, Cycle, ModelCall, Provider
from agents_app.models_cycles import Phase
from agents_app.objects import providers
from executions_app import clock
from executions_app.audit import SYSTEM
from executions_app.models import AuditEntry, Execution
from scheduler_app.models import Schedule
from tests.agents_app.asking import KEY
from tests.fakes.model_script import fails, says, says_json
from tests.fakes.model_server import ModelServer, model_server
from tests.scheduler_app.planned import (
    ADVICE,
    HOUR_MS,
    a_decided_cycle,
    a_schedule,
    an_agent,
    everything,
    plan,
    step,
)
from tests.terminal import Ended, run

pytestmark = pytest.mark.django_db
UNTOUCHED = ("Cycle", "Schedule", "Execution", "Step", "Agent")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    llm_form.manners.forget()
    with model_server() as server:
        server.key = KEY
        server.on("plan", says_json(plan()))
        server.on("schedule", says_json(ADVICE))
        yield server


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def agent(owner: User, root: User, server: ModelServer) -> Agent:
    return an_agent(server)


@pytest.fixture
def schedule(owner: User, agent: Agent) -> Schedule:
    return a_schedule(owner, autonomy="propose", budget={"tokens_per_cycle": 50_000})


@pytest.fixture
def cycle(schedule: Schedule, agent: Agent) -> Cycle:
    return a_decided_cycle(schedule, agent)


def replay(cycle: Cycle, *more: str) -> Ended:
    return run("replay_cycle", str(cycle.id), "--model", "large", *more)


def replays() -> list[ModelCall]:
    return list(ModelCall.objects.filter(phase=Phase.REPLAY).order_by("id"))


def test_another_model_is_asked_the_same_and_what_differs_is_shown(
    cycle: Cycle, server: ModelServer
) -> None:
    sooner = {**ADVICE, "interval_ms": HOUR_MS // 2}
    server.on("replay", says_json(plan(step("x", "warm-us"))), says_json(sooner))
    before = everything()

    ended = replay(cycle, "--json")

    document = ended.document
    assert ended.exit_code == 3
    assert document["differences"] == [
        "endpoint 'warm-eu' is not called",
        "endpoint 'warm-us' waits for nothing instead of endpoint 'warm-eu'",
        "next run: 1800000 ms after this one, instead of 7200000 ms after this one",
    ]
    first, second = server.asked("replay")
    assert (first.body["model"], second.body["model"]) == ("large", "large")
    assert first.prompt == server.asked("plan")[0].prompt
    assert "All of it is warm." in second.prompt
    after = everything()
    assert {name: after[name] for name in UNTOUCHED} == {name: before[name] for name in UNTOUCHED}


def test_the_same_answers_are_the_same_decision(cycle: Cycle, server: ModelServer) -> None:
    server.on("replay", says_json(plan()), says_json(ADVICE))

    told = replay(cycle)

    assert told.exit_code == 0, told.stdout + told.stderr
    assert "No endpoint was called, and nothing was changed." in told.stdout


def test_its_calls_count_in_the_budgets_and_not_in_the_cycle(
    cycle: Cycle, schedule: Schedule, server: ModelServer
) -> None:
    server.on("replay", says_json(plan()), says_json(ADVICE))
    of = Of(schedule_id=schedule.id, agent_id=cycle.agent_id)
    limits = budget.limits_of(of, Budget(), now=clock.now())
    before = {scope: one.tokens for scope, one in budget.used(limits).items()}

    document = replay(cycle, "--json").document

    rows = replays()
    assert [(one.cycle_id, one.execution_id, one.template) for one in rows] == [
        (None, cycle.execution_id, "plan"),
        (None, cycle.execution_id, "schedule"),
    ]
    assert document["tokens"] == sum(one.prompt_tokens + one.completion_tokens for one in rows) > 0
    after = {scope: one.tokens for scope, one in budget.used(limits).items()}
    assert {scope: after[scope] - before[scope] for scope in after} == dict.fromkeys(
        after, document["tokens"]
    )
    assert spent.totals(cycle)["prompt_tokens"] == cycle.prompt_tokens
    usage.recount(schedule.id)
    cycle.refresh_from_db()
    assert spent.totals(cycle)["prompt_tokens"] == cycle.prompt_tokens


def test_it_is_audited_with_who_asked(cycle: Cycle, server: ModelServer, root: User) -> None:
    server.on("replay", says_json(plan()), says_json(ADVICE))

    replay(cycle)

    entry = AuditEntry.objects.get(action="cycle.replayed")
    assert (entry.actor_id, entry.object_id) == (root.pk, str(cycle.id))
    assert entry.after is not None
    assert (entry.after["provider"], entry.after["model"]) == ("scripted", "large")


def test_a_provider_can_be_named(cycle: Cycle, server: ModelServer) -> None:
    providers.create({"name": "local", "base_url": server.url}, actor=SYSTEM)
    server.key = ""
    server.on("replay", says_json(plan()), says_json(ADVICE))

    ended = replay(cycle, "--provider", "local", "--json")

    assert ended.document["provider"] == "local"
    assert {one.provider for one in replays()} == {"local"}
    assert replay(cycle, "--provider", "nobody").exit_code == 4


def test_answers_of_no_use_are_told_as_such_and_end_with_1(
    cycle: Cycle, server: ModelServer
) -> None:
    server.on("replay", says("I would rather not."))

    ended = replay(cycle, "--json")

    assert ended.exit_code == 1
    assert ended.document["by_model"]["plan"] is None
    assert "no usable" in ended.document["by_model"]["reason"]
    assert {one.status for one in replays()} == {"malformed"}


def test_a_plan_counts_although_the_advice_failed(cycle: Cycle, server: ModelServer) -> None:
    server.on("replay", says_json(plan()), fails(400, "no"))

    ended = replay(cycle, "--json")

    assert ended.exit_code == 0, ended.stdout
    assert ended.document["by_model"]["plan"] is not None
    assert "400" in ended.document["by_model"]["advice_unknown"]


def test_a_plan_may_name_nothing_that_was_not_open_then(cycle: Cycle, server: ModelServer) -> None:
    server.on("replay", says_json(plan(step("a", "payroll"))))

    ended = replay(cycle, "--json")

    assert ended.exit_code == 1
    assert any("payroll" in str(one.problems) for one in replays())


def test_what_could_not_be_called_today_is_said(cycle: Cycle, server: ModelServer) -> None:
    server.on("replay", says_json(plan()), says_json(ADVICE))
    Schedule.objects.update(
        task_config={"goal": "warm", "endpoints": ["warm-eu"], "autonomy": "propose"}
    )

    document = replay(cycle, "--json").document

    assert document["problems_today"] == [
        "steps[1].name: endpoint 'warm-us' is not opened for this schedule"
    ]


def test_a_budget_that_does_not_suffice_forbids_the_call(
    owner: User, agent: Agent, server: ModelServer
) -> None:
    cycle = a_decided_cycle(a_schedule(owner), agent)
    config = {"goal": "warm", "endpoints": ["warm-eu"], "budget": {"tokens_per_cycle": 10}}
    row = Execution.objects.get(id=cycle.execution_id)
    Execution.objects.update(snapshot={**row.snapshot, "task_config": config})

    ended = replay(cycle)

    assert ended.exit_code == 5
    assert "tokens" in ended.stderr
    assert server.count("replay") == 0


def test_a_model_that_is_not_set_up_is_not_called(cycle: Cycle, server: ModelServer) -> None:
    Provider.objects.update(enabled=False)

    ended = replay(cycle)

    assert ended.exit_code == 5
    assert "enable it" in ended.stderr
    assert server.count("replay") == 0


def test_a_model_that_does_not_answer_is_told_without_its_key(
    cycle: Cycle, server: ModelServer
) -> None:
    server.on("replay", fails(400, f"bad key {KEY}"))

    ended = replay(cycle, "--json")

    assert ended.exit_code == 1
    assert KEY not in ended.stdout + ended.stderr
