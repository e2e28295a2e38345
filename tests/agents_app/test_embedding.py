"""The embedding model over real HTTP: what memory asks, and what becomes of each call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from pytest_httpserver import HTTPServer

from agents_app import budget, embedding, memory
from agents_app.budget import BudgetSpent, Limit
from agents_app.clients.llm_errors import ModelError, ModelNotConfigured
from agents_app.clients.llm_question import Of
from agents_app.cycle import stages
from agents_app.models import Cycle, ModelCall, Provider, Reservation
from agents_app.models_memory import MemoryKind
from agents_app.nearness import Embed
from config.env import env
from errors_app.taxonomy import Cancelled, ErrorClass, LeaseLost
from executions_app import clock
from tests.agents_app.agents import make_agent
from tests.agents_app.asking import provider_of
from tests.agents_app.cycle.test_begin import begun, queued
from tests.fakes.model_server import model_server

PRICES = [{"name": "small", "usd_per_1m_input": "1000000"}]
pytestmark = pytest.mark.django_db


@pytest.fixture
def provider(httpserver: HTTPServer) -> Provider:
    address = httpserver.url_for("/v1")
    return Provider.objects.create(name="a provider", base_url=address, models=PRICES)


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "env", env.model_copy(update={"embedding_model": "small"}))


def embedder(
    provider: Provider, *limits: Limit, check: Callable[[], None] = lambda: None, **of: Any
) -> Embed:
    made = embedding.embedder(provider, limits=limits, of=Of(**of), check=check)
    assert made is not None
    return made


def limit(tokens: int | None = None, usd: Decimal | None = None) -> Limit:
    return Limit("cycle:a", clock.now(), tokens, usd)


def vectors(*values: list[float]) -> dict[str, Any]:
    data = [{"index": place, "embedding": one} for place, one in enumerate(values)]
    return {"data": list(reversed(data)), "usage": {"prompt_tokens": 7, "total_tokens": 7}}


def test_texts_get_their_vectors_in_their_order_and_the_call_a_row(
    provider: Provider, httpserver: HTTPServer
) -> None:
    asked = {"model": "small", "input": ["one", "two"]}
    httpserver.expect_request("/v1/embeddings", method="POST", json=asked).respond_with_json(
        vectors([1.0, 0.0], [0.0, 1.0])
    )
    schedule_id = uuid4()
    embed = embedder(provider, schedule_id=schedule_id)

    assert embed.space == "a provider/small"
    assert embed.vectors(["one", "two"]) == [[1.0, 0.0], [0.0, 1.0]]

    call = ModelCall.objects.get()
    assert (call.status, call.model, call.phase) == ("ok", "small", "embed")
    assert (call.prompt_tokens, call.completion_tokens) == (7, 0)
    assert call.schedule_id == schedule_id


def test_without_a_model_of_embeddings_nobody_is_asked(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "env", env.model_copy(update={"embedding_model": ""}))

    assert embedding.embedder(provider, limits=()) is None


@pytest.mark.parametrize(
    ("status", "body", "error_class"),
    [
        (200, "no JSON", ErrorClass.MALFORMED),
        (200, "{}", ErrorClass.MALFORMED),
        (200, '{"data": [], "usage": null}', ErrorClass.MALFORMED),
        (200, '{"data": [{"index": 0, "embedding": ["x"]}]}', ErrorClass.MALFORMED),
        (200, '{"data": {"index": 0}}', ErrorClass.MALFORMED),
        (404, "{}", ErrorClass.PERMANENT),
        (302, "{}", ErrorClass.PERMANENT),
        (429, "{}", ErrorClass.TRANSIENT),
        (500, "{}", ErrorClass.TRANSIENT),
    ],
)
def test_what_is_no_answer_fails_by_its_class_once_and_leaves_a_row(
    provider: Provider, httpserver: HTTPServer, status: int, body: str, error_class: ErrorClass
) -> None:
    httpserver.expect_request("/v1/embeddings").respond_with_data(body, status=status)
    within = limit(1_000)

    with pytest.raises(ModelError) as failed:
        embedder(provider, within).vectors(["one"])

    assert failed.value.error_class is error_class
    call = ModelCall.objects.get()
    assert (call.status, call.failure_class) == ("failed", error_class.value)
    assert len(httpserver.log) == 1
    assert (call.prompt_tokens > 0) is (status == 200)  # an error status has used nothing
    assert budget.used([within])["cycle:a"].tokens == call.prompt_tokens
    assert Reservation.objects.get().settled_at is not None


def test_a_server_that_is_not_there_is_a_passing_failure() -> None:
    provider = Provider.objects.create(name="nobody", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(ModelError) as failed:
        embedder(provider, limit(1_000)).vectors(["one"])

    assert failed.value.error_class is ErrorClass.TRANSIENT
    assert Reservation.objects.get().tokens == 0


@pytest.mark.parametrize("error", [Cancelled("asked to stop"), LeaseLost("another's")])
def test_whoever_wants_it_stopped_is_heard(provider: Provider, error: Exception) -> None:
    def stop() -> None:
        raise error

    with pytest.raises(type(error)):
        embedder(provider, check=stop).vectors(["one"])

    assert ModelCall.objects.get().status == "failed"


def test_what_is_used_counts_in_the_budget_by_what_the_server_counted(
    provider: Provider, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/v1/embeddings").respond_with_json(vectors([1.0]))
    within = limit(1_000, Decimal(1_000))

    embedder(provider, within).vectors(["one"])

    call = ModelCall.objects.get()
    assert (call.prompt_tokens, call.cost_usd, call.is_estimated) == (7, Decimal(7), False)
    assert budget.used([within])["cycle:a"] == (7, Decimal(7))


@pytest.mark.parametrize("within", [{"tokens": 9}, {"usd": Decimal(9)}])
def test_what_might_exceed_the_budget_is_not_asked(
    provider: Provider, httpserver: HTTPServer, within: dict[str, Any]
) -> None:
    with pytest.raises(BudgetSpent):
        embedder(provider, limit(**within)).vectors(["one"])

    assert httpserver.log == []
    assert not ModelCall.objects.exists()
    assert not Reservation.objects.exists()


def test_a_provider_that_is_left_out_is_not_waited_for(
    provider: Provider, httpserver: HTTPServer
) -> None:
    provider.unhealthy_until = clock.now() + timedelta(minutes=1)

    with pytest.raises(ModelError, match="left out"):
        embedder(provider, limit(1_000)).vectors(["one"])

    assert httpserver.log == []
    assert not Reservation.objects.exists()


def test_a_call_that_cannot_be_made_reserves_nothing(provider: Provider) -> None:
    provider.enabled = False

    with pytest.raises(ModelNotConfigured):
        embedder(provider, limit(1_000)).vectors(["one"])

    assert not Reservation.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("most", [None, 1])
def test_a_cycle_asks_within_its_budget_and_says_when_its_memory_is_told_by_age(
    monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    with model_server() as server:
        agent = make_agent("warmer", provider=provider_of(server))
        cycle = begun(queued(budget={"tokens_per_cycle": most}))
        for schedule_id in (cycle.schedule_id, None):
            new = memory.New(
                agent_id=agent.id,
                owner_id=cycle.owner_id,
                kind=MemoryKind.FACT,
                text="the cache is small",
                schedule_id=schedule_id,
            )
            memory.remember(new)

        stages.run_stage(cycle.id)

    asked = [one for one in server.asked() if one.path.endswith("/embeddings")]
    cycle = Cycle.objects.get(id=cycle.id)
    told = [one for one in cycle.notes if one.startswith("What the agent remembers is told by")]
    assert len(asked) == (most is None)
    assert ModelCall.objects.filter(phase="embed", cycle_id=cycle.id).count() == len(asked)
    assert len(told) == (most == 1)
    assert all("of 1 tokens" in one for one in told)
    assert cycle.context["memory"][0]["text"] == "the cache is small"
