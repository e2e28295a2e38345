"""What `when_spent` makes of a cycle whose budget has no room for its model, word by word."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User

from agents_app.clients import llm, llm_form
from agents_app.models import Cycle, CycleStage, CycleStatus, Provider, Reservation, Tier
from executions_app import ids
from executions_app.models import Step
from tests.agents_app.agents import make_agent
from tests.agents_app.asking import MODEL, provider_of
from tests.agents_app.cycle.made import an_owner, begun, gone_on
from tests.fakes.model_script import plan_of, resets, says_json
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db(transaction=True)

NOTHING_LEFT = {"tokens_per_cycle": 1}
DEAR = {"name": MODEL, "usd_per_1m_input": "1000", "usd_per_1m_output": "1000"}
CHEAP = {"name": "tiny", "usd_per_1m_input": "1", "usd_per_1m_output": "1"}


@pytest.fixture
def owner() -> User:
    return an_owner()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """The model of the agent `one`; it would plan two calls of `alpha`."""
    llm_form.manners.forget()
    monkeypatch.setattr(llm, "FIRST_WAIT_SECONDS", 0.02)
    with model_server() as server:
        server.on("plan", says_json(plan_of(2, name="alpha")))
        make_agent("one", provider=provider_of(server, models=[DEAR, CHEAP]), max_concurrent=9)
        yield server


def a_schedule() -> UUID:
    return ids.new(datetime.now(UTC))


def calls_of(cycle: Cycle) -> list[str]:
    found = Step.objects.filter(execution_id=cycle.execution_id).order_by("position")
    return [one.config["plan_id"] for one in found]


def test_by_default_what_is_declared_is_called_in_its_order(
    owner: User, model: ModelServer
) -> None:
    cycle = gone_on(begun(owner, budget=NOTHING_LEFT))

    assert (cycle.tier, cycle.trouble) == (Tier.DETERMINISTIC, "budget_spent")
    assert "of 1 tokens" in cycle.tier_reason
    assert calls_of(cycle) == ["s1"]
    assert model.count() == 0


@pytest.mark.parametrize("word", ["skip", "pause"])
def test_skip_and_pause_call_nothing_on_purpose(owner: User, model: ModelServer, word: str) -> None:
    cycle = gone_on(begun(owner, budget={**NOTHING_LEFT, "when_spent": word}))

    assert (cycle.tier, cycle.plan, cycle.trouble) == (Tier.BASELINE, None, "budget_spent")
    assert "nothing is called" in cycle.tier_reason
    assert calls_of(cycle) == []
    assert model.count() == 0


def advice_of(owner: User, *, word: str, autonomy: str) -> dict[str, Any] | None:
    """What a cycle that called nothing advises at its end."""
    budget = {**NOTHING_LEFT, "when_spent": word}
    cycle = begun(owner, schedule_id=a_schedule(), budget=budget, autonomy=autonomy)
    ended = gone_on(gone_on(cycle))
    assert (ended.status, ended.tier) == (CycleStatus.COMPLETED, Tier.BASELINE)
    return ended.advice and ended.advice["advice"]


def test_pause_advises_one_until_the_next_day_in_utc(owner: User, model: ModelServer) -> None:
    before = datetime.now(UTC)

    advised = advice_of(owner, word="pause", autonomy="propose")

    assert advised is not None
    assert advised["action"] == "pause"
    until = datetime.fromisoformat(advised["pause_until"])
    assert until.astimezone(UTC).time() == time()
    assert timedelta() < until - before < timedelta(days=1, hours=1)
    assert model.count() == 0


def test_skip_advises_no_pause(owner: User, model: ModelServer) -> None:
    advised = advice_of(owner, word="skip", autonomy="propose")

    assert advised is not None
    assert advised["action"] == "keep"
    assert model.count() == 0


def test_a_pause_is_no_advice_and_comes_without_autonomy_too(
    owner: User, model: ModelServer
) -> None:
    advised = advice_of(owner, word="pause", autonomy="off")

    assert advised is not None
    assert advised["action"] == "pause"
    assert advice_of(owner, word="skip", autonomy="off") is None
    assert model.count() == 0


def test_a_budget_that_is_spent_once_the_plan_is_made_pauses_nothing(
    owner: User, model: ModelServer
) -> None:
    """The next cycle has one of its own, and finds out itself if there is no money left."""
    budget = {"tokens_per_cycle": 20_000, "when_spent": "pause"}
    cycle = gone_on(begun(owner, schedule_id=a_schedule(), budget=budget, autonomy="auto"))
    Step.objects.filter(execution_id=cycle.execution_id).update(status="completed", result={})
    Cycle.objects.filter(id=cycle.id).update(stage=CycleStage.SUMMARISE)
    Reservation.objects.update(tokens=20_000)

    ended = gone_on(cycle)

    assert (cycle.tier, ended.status) == (Tier.MODEL, CycleStatus.COMPLETED)
    assert ended.advice is not None
    assert ended.advice["source"] != "budget"
    assert ended.advice["advice"]["action"] != "pause"
    assert model.count() == model.count("plan") == 1


def test_cheaper_asks_the_cheapest_model_of_the_provider(owner: User, model: ModelServer) -> None:
    money = {"usd_per_day": "0.5", "when_spent": "cheaper"}

    cycle = gone_on(begun(owner, schedule_id=a_schedule(), budget=money))

    assert (cycle.tier, cycle.trouble) == (Tier.MODEL, "")
    assert calls_of(cycle) == ["s1", "s2"]
    assert [one.model for one in model.asked()] == ["tiny"]


def test_only_cheaper_asks_another_model(owner: User, model: ModelServer) -> None:
    cycle = gone_on(begun(owner, schedule_id=a_schedule(), budget={"usd_per_day": "0.5"}))

    assert (cycle.tier, cycle.trouble) == (Tier.DETERMINISTIC, "budget_spent")
    assert model.count() == 0


def test_a_cheaper_model_that_cannot_be_paid_either_is_not_asked(
    owner: User, model: ModelServer
) -> None:
    money = {"usd_per_day": "0", "when_spent": "cheaper"}

    cycle = gone_on(begun(owner, schedule_id=a_schedule(), budget=money))

    assert (cycle.tier, cycle.trouble) == (Tier.DETERMINISTIC, "budget_spent")
    assert model.count() == 0


def test_a_model_whose_answers_break_off_is_not_asked_beyond_the_budget(
    owner: User, model: ModelServer
) -> None:
    model.on("plan", resets("stream", text="x" * 8_000))

    cycle = gone_on(begun(owner, budget={"tokens_per_cycle": 4_200}))

    assert model.count("plan") == 1
    assert (cycle.tier, cycle.trouble) == (Tier.DETERMINISTIC, "down")
    assert Provider.objects.get().failures_in_row == 1
    used = sum(Reservation.objects.values_list("tokens", flat=True))
    assert used == cycle.prompt_tokens + cycle.completion_tokens <= 4_200


def test_the_same_model_is_asked_again_where_the_budget_has_room(
    owner: User, model: ModelServer
) -> None:
    broken = resets("stream", text="x" * 8_000)
    model.on("plan", broken, says_json(plan_of(1, name="alpha")))

    cycle = gone_on(begun(owner, budget={"tokens_per_cycle": 20_000}))

    assert (cycle.tier, model.count("plan")) == (Tier.MODEL, 2)
    used = sum(Reservation.objects.values_list("tokens", flat=True))
    assert used == cycle.prompt_tokens + cycle.completion_tokens
    assert not Reservation.objects.filter(settled_at__isnull=True).exists()
