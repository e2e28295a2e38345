"""Replay of a cycle from what is stored: what would be decided today, at zero tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from agents_app.clients import llm_form
from agents_app.models import Agent, Cycle, Endpoint, ModelCall, Provider
from agents_app.objects import endpoints
from agents_app.replay import prompting
from config.env import env
from executions_app import clock
from executions_app.audit import SYSTEM
from scheduler_app import adoption
from scheduler_app.models import Schedule
from tests.agents_app.asking import KEY, provider_at
from tests.fakes.model_answers import ANALYSIS
from tests.fakes.model_script import fails, in_prose, says, says_json
from tests.fakes.model_server import ModelServer, model_server
from tests.scheduler_app.conftest import in_two_days
from tests.scheduler_app.planned import (
    ADVICE,
    HOUR_MS,
    NAMES,
    a_decided_cycle,
    a_schedule,
    an_agent,
    everything,
    plan,
    step,
)
from tests.terminal import Ended, run

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[ModelServer]:
    llm_form.manners.forget()
    with model_server() as server:
        server.key = KEY
        server.on("plan", says_json(plan()))
        server.on("schedule", says_json(ADVICE))
        yield server


@pytest.fixture
def agent(owner: User, server: ModelServer) -> Agent:
    return an_agent(server)


@pytest.fixture
def schedule(owner: User, agent: Agent) -> Schedule:
    return a_schedule(owner, autonomy="propose")


@pytest.fixture
def cycle(schedule: Schedule, agent: Agent) -> Cycle:
    """One that the model planned, and whose advice waits as a proposal."""
    made = a_decided_cycle(schedule, agent)
    adopt()
    return Cycle.objects.get(id=made.id)


def adopt() -> None:
    assert adoption.adopt_advice(clock.now()) == 1


def replay(cycle: Cycle, *more: str) -> Ended:
    return run("replay_cycle", str(cycle.id), *more)


def switch_off(name: str) -> None:
    found = Endpoint.objects.get(name=name)
    endpoints.change(found.id, {"enabled": False}, actor=SYSTEM)


def changed(schedule: Schedule, **config: object) -> None:
    words = {**schedule.task_config, **config}
    Schedule.objects.filter(id=schedule.id).update(task_config=words)


def test_what_has_not_changed_would_be_decided_again_without_asking_anybody(
    cycle: Cycle, server: ModelServer
) -> None:
    before, asked = everything(), server.count()

    told, document = replay(cycle), replay(cycle, "--json").document

    assert told.exit_code == 0, told.stdout + told.stderr
    assert "Today the same would be decided." in told.stdout
    assert "No model was asked." in told.stdout
    assert document["is_same"] is True
    assert document["decided"]["plan"] == document["today"]["plan"] == cycle.plan
    assert document["decided"]["advice"] == document["today"]["advice"]
    assert document["limits_then"] == document["limits_today"]
    assert document["notes"] == []
    assert (server.count(), everything()) == (asked, before)


def test_it_is_found_by_its_execution_as_well(cycle: Cycle) -> None:
    by_execution = run("replay_cycle", str(cycle.execution_id), "--json")
    number = by_execution.document["execution_number"]
    by_number = run("replay_cycle", f"#{number}", "--json")

    assert by_execution.document == by_number.document == replay(cycle, "--json").document


def test_an_endpoint_that_was_switched_off_is_left_out_today(cycle: Cycle) -> None:
    switch_off("warm-us")

    told = replay(cycle)
    document = replay(cycle, "--json").document

    assert told.exit_code == 3
    assert document["checked_differences"] == []
    assert document["today_differences"] == ["endpoint 'warm-us' is not called"]
    assert document["rights"] == ["endpoint 'warm-us' is switched off"]
    (answer, _) = document["answers"]
    assert answer["then"]["malformed_class"] == answer["checked_again"]["malformed_class"] == ""
    assert answer["today"]["malformed_class"] == "semantic_violation"
    assert "Today it would be decided differently:" in told.stdout
    assert "steps[1].name: endpoint 'warm-us' is switched off" in told.stdout


def test_a_strict_schedule_would_go_down_the_ladder_today(owner: User, agent: Agent) -> None:
    schedule = a_schedule(owner, strict=True)
    cycle = a_decided_cycle(schedule, agent)
    switch_off("warm-us")

    document = replay(cycle, "--json").document

    assert document["checked_differences"] == []
    assert document["today"]["tier"] == "deterministic"
    assert "tier 'deterministic' instead of 'model'" in document["today_differences"]
    assert "endpoint 'warm-us' is not called" in document["today_differences"]


def test_repairs_are_played_again_in_their_order(
    owner: User, agent: Agent, server: ModelServer
) -> None:
    wrong = plan(step("a", "warm-eu", "nobody"))
    server.on("plan", in_prose(wrong), says_json(plan()))
    cycle = a_decided_cycle(a_schedule(owner), agent)

    document = replay(cycle, "--json").document

    classes = [one["then"]["malformed_class"] for one in document["answers"]]
    again = [one["checked_again"]["malformed_class"] for one in document["answers"]]
    assert classes == again == ["structural_inconsistency", ""]
    assert [one["is_repair"] for one in document["answers"]] == [False, True]
    assert document["is_same"] is True


def test_an_analysis_is_part_of_what_the_plan_was_made_of(
    owner: User, agent: Agent, server: ModelServer
) -> None:
    server.on("analyse", says_json({**ANALYSIS, "reason": "two caches to look at"}))
    cycle = a_decided_cycle(a_schedule(owner, analyse=True), agent)

    document = replay(cycle, "--json").document

    assert [(one["phase"], one["difference"]) for one in document["prompts"]] == [
        ("analyse", None),
        ("plan", []),
    ]
    assert document["is_same"] is True


def test_the_answer_of_a_provider_that_stood_in_stays_one_of_a_lower_tier(
    owner: User, agent: Agent, server: ModelServer
) -> None:
    stand_in = provider_at(server.url, name="stand-in")
    Provider.objects.filter(id=agent.provider_id).update(fallback_provider=stand_in)
    server.on("plan", fails(400, "no"), says_json(plan()))
    cycle = a_decided_cycle(a_schedule(owner), agent)

    document = replay(cycle, "--json").document

    assert cycle.tier == "other_provider"
    assert document["is_same"] is True, document["today_differences"]
    assert [one["provider"] for one in document["answers"]] == ["scripted", "stand-in"]


def test_an_answer_that_needs_a_repair_by_now_is_salvaged_since_none_is_stored(
    cycle: Cycle,
) -> None:
    said = json.dumps(plan(step("a", "warm-eu"), step("b", "nowhere")))
    ModelCall.objects.filter(phase="plan").update(response=said)

    document = replay(cycle, "--json").document

    assert document["checked_differences"] == ["endpoint 'warm-us' is not called"]
    assert any("no further answer is stored" in one for one in document["today"]["notes"])


def test_a_cycle_without_a_model_is_decided_again_by_the_ladder(
    owner: User, agent: Agent, server: ModelServer
) -> None:
    server.on("plan", fails(401, "no"))
    schedule = a_schedule(owner, autonomy="propose")
    cycle = a_decided_cycle(schedule, agent)
    endpoints.create(
        {"name": "warm-asia", "url": "https://caches.example.com/asia"},
        owner_id=owner.pk,
        actor=SYSTEM,
    )

    as_it_was = replay(cycle, "--json")
    changed(schedule, endpoints=[*NAMES, "warm-asia"])
    today = replay(cycle, "--json")

    assert cycle.tier == "deterministic"
    assert as_it_was.exit_code == 0, as_it_was.stdout
    assert cycle.advice is not None
    assert as_it_was.document["today"]["advice"] == cycle.advice["advice"]
    assert today.exit_code == 3
    assert today.document["today_differences"] == [
        "endpoint 'warm-asia' is called as well, with {}"
    ]


def test_limits_of_today_are_applied_to_the_advice(cycle: Cycle, schedule: Schedule) -> None:
    changed(schedule, max_interval_ms=HOUR_MS)

    told = replay(cycle)
    document = replay(cycle, "--json").document

    assert told.exit_code == 3
    assert document["limits_then"]["limits"] == []
    assert document["limits_today"]["limits"] == ["max_interval"]
    assert document["limits_today"]["at"] < document["limits_then"]["at"]
    assert "the longest time between two runs" in told.stdout


def test_a_window_that_was_set_since_moves_it_as_well(cycle: Cycle, schedule: Schedule) -> None:
    Schedule.objects.filter(id=schedule.id).update(execution_window=in_two_days())

    document = replay(cycle, "--json").document

    assert document["limits_today"]["limits"] == ["window"]


def test_another_autonomy_is_a_difference_and_off_asks_for_no_advice(
    cycle: Cycle, schedule: Schedule
) -> None:
    changed(schedule, autonomy="auto")
    by_itself = replay(cycle, "--json").document
    changed(schedule, autonomy="off")
    off = replay(cycle, "--json").document

    assert by_itself["today_differences"] == ["the autonomy is 'auto' instead of 'propose'"]
    assert off["today"]["advice"] is None
    assert off["today_differences"] == [
        f"next run: no advice, instead of {2 * HOUR_MS} ms after this one"
    ]


def test_where_nobody_was_asked_when_to_run_nothing_is_made_up(owner: User, agent: Agent) -> None:
    schedule = a_schedule(owner)
    cycle = a_decided_cycle(schedule, agent)
    changed(schedule, autonomy="auto")

    document = replay(cycle, "--json").document

    assert document["is_same"] is True
    assert "is not stored" in document["today"]["advice_unknown"]


def test_prompts_are_compared_by_template_and_by_what_they_would_say(
    cycle: Cycle, schedule: Schedule
) -> None:
    same = replay(cycle, "--json").document["prompts"]
    ModelCall.objects.filter(phase="plan").update(template_hash="0" * 12)
    changed_since = replay(cycle)
    told = replay(cycle, "--json").document["prompts"]

    assert [(one["phase"], one["is_same"]) for one in same] == [("plan", True), ("schedule", True)]
    assert same[0]["difference"] == []
    assert changed_since.exit_code == 0, "another prompt alone decides nothing else"
    assert "the template has changed (000000000000 then" in changed_since.stdout
    assert told[0]["is_same"] is False


def test_a_prompt_that_reads_otherwise_by_other_limits_says_so(
    cycle: Cycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompting, "env", env.model_copy(update={"max_plan_steps": 7}))

    (of_plan, _) = replay(cycle, "--json").document["prompts"]

    assert of_plan["hash_then"] == of_plan["hash_now"]
    assert len(of_plan["difference"]) == 2
    assert "at most 7" in of_plan["difference"][1]


def test_what_answers_were_checked_against_is_kept_small_and_without_schemas(
    cycle: Cycle,
) -> None:
    of_plan: Any = ModelCall.objects.get(phase="plan").grounds
    of_advice: Any = ModelCall.objects.get(phase="schedule").grounds

    assert [one[:2] for one in of_plan["open"]] == [["endpoint", name] for name in NAMES]
    assert {one[2] for one in of_plan["open"]} == {of_plan["open"][0][2]}
    assert (of_plan["most_repairs"], of_plan["is_strict"]) == (2, False)
    assert "now" in of_advice
    assert len(json.dumps(of_plan)) < 400


def test_calls_from_before_these_were_kept_are_checked_by_their_context(cycle: Cycle) -> None:
    ModelCall.objects.update(grounds=None)

    document = replay(cycle, "--json").document

    assert document["is_same"] is True
    assert "is not stored with this cycle" in document["notes"][0]


def test_a_parameter_schema_that_has_changed_is_told_and_the_old_one_still_holds(
    cycle: Cycle,
) -> None:
    found = Endpoint.objects.get(name="warm-us")
    schema = {
        "type": "object",
        "properties": {"depth": {"type": "integer"}},
        "required": ["depth"],
    }
    endpoints.change(found.id, {"parameters_schema": schema}, actor=SYSTEM)

    document = replay(cycle, "--json").document

    assert document["checked_differences"] == []
    assert document["rights"] == ["endpoint 'warm-us' takes other parameters by now"]
    assert document["today_differences"] == ["endpoint 'warm-us' is not called"]


def test_a_schedule_that_is_gone_is_taken_as_it_was(cycle: Cycle, schedule: Schedule) -> None:
    Schedule.objects.filter(id=schedule.id).delete()

    ended = replay(cycle, "--json")

    assert ended.exit_code == 0, ended.stdout
    assert "does not exist any more" in ended.document["notes"][0]


def test_a_secret_in_an_answer_is_stored_without_and_said(
    owner: User, agent: Agent, server: ModelServer
) -> None:
    server.on("plan", says_json(plan(reason="token=abcdefghijklmnop0123456789")))
    cycle = a_decided_cycle(a_schedule(owner), agent)

    told = replay(cycle)

    assert "abcdefghijklmnop" not in told.stdout
    assert "stored without a secret" in told.stdout


def test_hostile_answers_reach_a_terminal_as_plain_lines(
    owner: User, agent: Agent, server: ModelServer
) -> None:
    bell = plan(step("a", "warm\x1b]0;owned\x07"), step("b", "warm-eu"))
    server.on("plan", says_json(bell))
    cycle = a_decided_cycle(a_schedule(owner), agent)

    told = replay(cycle)

    assert told.exit_code == 0, told.stdout
    assert "\x1b" not in told.stdout
    assert "\x07" not in told.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["0195f2c4-8000-7a0b-8d11-5a6b7c8d9e0f"], 4),
        (["999999"], 4),
        (["nothing"], 4),
    ],
)
def test_what_does_not_exist_ends_with_4(owner: User, arguments: list[str], code: int) -> None:
    assert run("replay_cycle", *arguments).exit_code == code


def test_a_provider_without_a_model_is_a_mistake(cycle: Cycle) -> None:
    assert replay(cycle, "--provider", "scripted").exit_code == 2


def test_a_cycle_in_which_nothing_was_decided_is_refused(cycle: Cycle) -> None:
    Cycle.objects.filter(id=cycle.id).update(context={})

    ended = replay(cycle)

    assert ended.exit_code == 5
    assert "Nothing was planned in this cycle" in ended.stderr


def test_what_cannot_be_read_any_more_is_refused(cycle: Cycle) -> None:
    Cycle.objects.filter(id=cycle.id).update(plan={"steps": "none"})

    ended = replay(cycle)

    assert ended.exit_code == 5
    assert "cannot be read" in ended.stderr


def test_an_empty_answer_is_refused_again(owner: User, agent: Agent, server: ModelServer) -> None:
    server.on("plan", says(""))
    cycle = a_decided_cycle(a_schedule(owner), agent)

    document = replay(cycle, "--json").document

    assert document["is_same"] is True
    assert document["answers"][0]["checked_again"]["malformed_class"] == "empty_response"
