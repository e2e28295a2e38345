from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

from agents_app import budget
from agents_app.agent_config import Budget
from agents_app.budget import BudgetSpent, Limit, Used
from agents_app.clients import llm, llm_form
from agents_app.models import ModelCall, Reservation
from config.env import env
from errors_app.taxonomy import ErrorClass
from executions_app import clock, ids
from tests.agents_app.asking import MODEL, provider_of, question
from tests.fakes.model_script import fails, hangs, resets, says
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[ModelServer]:
    llm_form.manners.forget()
    with model_server() as server:
        yield server


def _cycle(tokens: int | None = 1_000, usd: str | None = None, scope: str = "cycle:a") -> Limit:
    return Limit(scope, clock.now(), tokens, None if usd is None else Decimal(usd))


def _used(limit: Limit) -> Used:
    return budget.used([limit])[limit.scope]


# Reserving and settling


def test_what_is_set_aside_counts_until_it_is_settled_with_what_was_used() -> None:
    limit = _cycle(usd="1")

    reservation = budget.reserve([limit], tokens=600, usd=Decimal("0.40"))
    set_aside = _used(limit)
    budget.settle(reservation, tokens=100, usd=Decimal("0.05"))

    assert set_aside == Used(600, Decimal("0.40"))
    assert _used(limit) == Used(100, Decimal("0.05"))


def test_what_might_exceed_a_limit_is_refused_and_leaves_nothing() -> None:
    limit = _cycle(1_000)
    budget.reserve([limit], tokens=600)

    with pytest.raises(BudgetSpent) as caught:
        budget.reserve([limit], tokens=401)

    assert caught.value.scope == "cycle:a"
    assert caught.value.error_class is ErrorClass.PERMANENT
    assert "tokens_per_cycle" in str(caught.value)
    assert "600 of 1000" in str(caught.value)
    assert Reservation.objects.count() == 1


def test_the_whole_of_a_limit_can_be_used() -> None:
    limit = _cycle(1_000)

    budget.reserve([limit], tokens=600)
    budget.reserve([limit], tokens=400)

    assert _used(limit).tokens == 1_000


def test_money_is_limited_as_tokens_are() -> None:
    limit = _cycle(None, usd="1.00", scope="schedule:b:2026-01-01")
    budget.reserve([limit], tokens=10, usd=Decimal("0.999999"))

    with pytest.raises(BudgetSpent, match="usd_per_day") as caught:
        budget.reserve([limit], tokens=10, usd=Decimal("0.000002"))

    assert caught.value.scope == limit.scope


def test_the_narrowest_scope_that_is_spent_is_named() -> None:
    wide, narrow = _cycle(10_000, scope="system:2026-01-01"), _cycle(100)

    with pytest.raises(BudgetSpent) as caught:
        budget.reserve([wide, narrow], tokens=200)

    assert caught.value.scope == "cycle:a"


def test_scopes_without_a_limit_are_counted_all_the_same() -> None:
    limit = _cycle(None, scope="agent:x:2026-01-01")

    budget.reserve([limit, _cycle()], tokens=5)

    assert _used(limit).tokens == 5


def test_a_call_is_settled_once() -> None:
    limit = _cycle()
    reservation = budget.reserve([limit], tokens=500)

    assert budget.settle(reservation, tokens=10)
    assert not budget.settle(reservation, tokens=400)
    assert _used(limit).tokens == 10


def test_one_that_nobody_settles_keeps_counting_at_its_maximum_and_says_so() -> None:
    limit = _cycle()
    lost = budget.reserve([limit], tokens=500, seconds=-1)
    waiting = budget.reserve([limit], tokens=100, seconds=60)

    closed = budget.close_expired()

    assert closed == 1
    assert Reservation.objects.get(id=lost).is_estimated
    assert not Reservation.objects.get(id=waiting).is_estimated
    assert _used(limit).tokens == 600


def test_one_that_expired_can_still_say_what_it_used() -> None:
    limit = _cycle()
    reservation = budget.reserve([limit], tokens=500, seconds=-1)
    budget.close_expired()

    assert budget.settle(reservation, tokens=40)

    assert _used(limit).tokens == 40
    assert not Reservation.objects.get(id=reservation).is_estimated


def test_a_new_day_begins_anew() -> None:
    of = llm.Of(schedule_id=uuid4())
    allowed = Budget(usd_per_day=Decimal(1))
    today = clock.now()
    budget.reserve(budget.limits_of(of, allowed, now=today), tokens=1, usd=Decimal(1))

    tomorrow = budget.limits_of(of, allowed, now=today + timedelta(days=1))

    with pytest.raises(BudgetSpent):
        budget.reserve(budget.limits_of(of, allowed, now=today), tokens=1, usd=Decimal(1))
    assert {one.usd for one in budget.used(tomorrow).values()} == {Decimal(0)}


def test_scopes_are_named_by_cycle_schedule_agent_and_day_of_utc() -> None:
    of = llm.Of(cycle_id=UUID(int=1), schedule_id=UUID(int=2), agent_id=UUID(int=3))
    allowed = Budget(tokens_per_cycle=20_000, usd_per_day=Decimal("1.5"))

    limits = budget.limits_of(of, allowed, now=datetime(2026, 5, 1, 23, 59, tzinfo=UTC))

    assert {one.scope: (one.tokens, one.usd) for one in limits} == {
        "system:2026-05-01": (None, None),
        f"agent:{of.agent_id}:2026-05-01": (None, None),
        f"schedule:{of.schedule_id}:2026-05-01": (None, Decimal("1.5")),
        f"cycle:{of.cycle_id}": (20_000, None),
    }


def test_a_cycle_counts_its_own_calls_from_its_beginning_on() -> None:
    now = clock.now()
    of = llm.Of(cycle_id=ids.new(now - timedelta(hours=3)))
    allowed = Budget(tokens_per_cycle=100)
    budget.reserve(budget.limits_of(of, allowed, now=now), tokens=60)

    with pytest.raises(BudgetSpent):
        budget.reserve(budget.limits_of(of, allowed, now=clock.now()), tokens=41)
    other = llm.Of(cycle_id=ids.new(now))
    budget.reserve(budget.limits_of(other, allowed, now=now), tokens=100)


def test_the_settings_limit_everything_and_each_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {
        "llm_tokens_per_day": 9,
        "llm_usd_per_day": Decimal(7),
        "llm_agent_tokens_per_day": 5,
    }
    monkeypatch.setattr(budget, "env", env.model_copy(update=changes))

    limits = budget.limits_of(llm.Of(agent_id=uuid4()), Budget(), now=clock.now())

    assert [(one.tokens, one.usd) for one in limits] == [(9, Decimal(7)), (5, None)]


# Together


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(3))
def test_however_many_reserve_at_once_no_limit_is_ever_exceeded(seed: int) -> None:
    """Threads reserve in several scopes at once, in any order, and settle with less or never."""
    draw = random.Random(seed)
    limits = {
        name: Limit(name, clock.now(), tokens)
        for name, tokens in (("cycle:1", 900), ("cycle:2", 700), ("agent:1:d", 1_300))
    }
    work = [
        (draw.sample(sorted(limits), draw.randint(1, 3)), draw.randint(1, 120), draw.random())
        for _ in range(120)
    ]
    granted: list[UUID] = []
    refused: list[BudgetSpent] = []
    problems: list[BaseException] = []
    guard = threading.Lock()

    def reserve(part: list[tuple[list[str], int, float]]) -> None:
        try:
            for names, tokens, luck in part:
                try:
                    held = budget.reserve([limits[one] for one in names], tokens=tokens)
                except BudgetSpent as error:
                    refused.append(error)
                    continue
                with guard:
                    granted.append(held)
                if luck < 0.3:
                    budget.settle(held, tokens=int(tokens * luck))
        except BaseException as error:
            problems.append(error)
            raise
        finally:
            connection.close()

    threads = [threading.Thread(target=reserve, args=(work[n::6],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert not problems
    assert refused  # else there was nothing to guard
    assert len(granted) + len(refused) == len(work)
    for name, used in budget.used(list(limits.values())).items():
        assert used.tokens <= (limits[name].tokens or 0)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_want_the_last_tokens_one_gets_them() -> None:
    limit = _cycle(100)
    outcomes: list[str] = []
    together = threading.Barrier(8)

    def work() -> None:
        together.wait(20)
        try:
            budget.reserve([limit], tokens=60)
            outcomes.append("got")
        except BudgetSpent:
            outcomes.append("spent")
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(outcomes) == ["got", *["spent"] * 7]


# Around a call


def test_a_call_is_settled_with_what_it_used(server: ModelServer) -> None:
    server.on("plan", says("done", prompt_tokens=50, completion_tokens=10))
    limit = _cycle(10_000, usd="1")

    answer = budget.asking([limit])(question(provider_of(server)))

    assert _used(limit) == Used(60, answer.cost_usd)
    assert answer.cost_usd > 0


def test_a_call_that_might_exceed_its_limit_is_not_made(server: ModelServer) -> None:
    asked = question(provider_of(server), max_tokens=500)

    with pytest.raises(BudgetSpent):
        budget.asking([_cycle(500)])(asked)

    assert server.count() == 0
    assert not ModelCall.objects.exists()


def test_a_call_that_fails_is_settled_with_what_its_tries_used(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "FIRST_WAIT_SECONDS", 0.02)
    server.on("plan", resets("stream"), fails(401))
    limit = _cycle(100_000)

    with pytest.raises(llm.ModelError) as caught:
        budget.asking([limit])(question(provider_of(server)))

    rows = list(ModelCall.objects.all())
    assert len(rows) == 2
    assert _used(limit).tokens == caught.value.spent_tokens > 0
    assert _used(limit).tokens == sum(one.prompt_tokens + one.completion_tokens for one in rows)


@pytest.mark.parametrize(("room_for", "requests"), [(1.0, 1), (1.1, 1), (1.7, 2), (3.0, 3)])
def test_whatever_breaks_off_no_request_exceeds_the_limit(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, room_for: float, requests: int
) -> None:
    monkeypatch.setattr(llm, "FIRST_WAIT_SECONDS", 0.02)
    server.on("plan", resets("stream", text="x" * 4_000))
    asked = question(provider_of(server), max_tokens=1_000)
    limit = _cycle(int(llm.most_tokens(asked) * room_for), usd="1000")

    with pytest.raises(llm.ModelError):  # what broke off is what is the matter
        budget.asking([limit])(asked)

    rows = list(ModelCall.objects.all())
    spent = sum(one.prompt_tokens + one.completion_tokens for one in rows)
    assert len(rows) == requests
    assert _used(limit).tokens == spent <= (limit.tokens or 0)
    assert _used(limit).usd == sum(one.cost_usd for one in rows) > 0
    assert not Reservation.objects.filter(settled_at=None).exists()


def test_requests_that_used_nothing_share_one_reservation(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "FIRST_WAIT_SECONDS", 0.02)
    server.on("plan", fails(503), fails(429), says("at last", prompt_tokens=9, completion_tokens=2))
    asked = question(provider_of(server))
    limit = _cycle(llm.most_tokens(asked))

    budget.asking([limit])(asked)

    assert _used(limit).tokens == 11
    assert Reservation.objects.count() == 1


def test_what_was_used_before_an_answer_counts_once(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "FIRST_WAIT_SECONDS", 0.02)
    server.on("plan", resets("stream"), resets("stream"), says("at last"))
    limit = _cycle(100_000, usd="10")

    answer = budget.asking([limit])(question(provider_of(server)))

    assert _used(limit) == Used(answer.spent_tokens, answer.spent_usd)
    assert Reservation.objects.count() == 3


def test_a_shorter_answer_is_asked_for_where_that_may_do(server: ModelServer) -> None:
    asked = question(provider_of(server), max_tokens=5_000, enough_tokens=800)

    budget.asking([_cycle(2_000)])(asked)

    assert server.asked()[0].most_tokens == 800
    with pytest.raises(BudgetSpent):
        budget.asking([_cycle(2_000, scope="cycle:b")])(question(asked.provider, max_tokens=5_000))
    with pytest.raises(BudgetSpent):
        budget.asking([_cycle(700, scope="cycle:c")])(asked)
    assert server.count() == 1


def test_a_call_that_was_interrupted_counts_at_its_maximum(server: ModelServer) -> None:
    server.on("plan", hangs("headers"))
    limit = _cycle(100_000)

    def check() -> None:
        if server.count():
            raise InterruptedError

    asked = question(provider_of(server), check=check)
    with pytest.raises(InterruptedError):
        budget.asking([limit])(asked)

    assert _used(limit).tokens == llm.most_tokens(asked)


def test_what_is_not_configured_sets_nothing_aside(server: ModelServer) -> None:
    with pytest.raises(llm.ModelNotConfigured):
        budget.asking([_cycle()])(question(provider_of(server, enabled=False), model=MODEL))

    assert not Reservation.objects.exists()
