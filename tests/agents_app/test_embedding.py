"""The embedding model over real HTTP: what memory asks, and what becomes of each call."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from pytest_httpserver import HTTPServer

from agents_app import embedding
from agents_app.clients.llm_errors import ModelError
from agents_app.clients.llm_question import Of
from agents_app.models import ModelCall, Provider
from config.env import env
from errors_app.taxonomy import Cancelled, ErrorClass

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider(httpserver: HTTPServer) -> Provider:
    return Provider.objects.create(name="a provider", base_url=httpserver.url_for("/v1"))


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "env", env.model_copy(update={"embedding_model": "small"}))


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
    embed = embedding.embedder(provider, of=Of(schedule_id=schedule_id))
    assert embed is not None

    assert embed(["one", "two"]) == [[1.0, 0.0], [0.0, 1.0]]

    call = ModelCall.objects.get()
    assert (call.status, call.model, call.template) == ("ok", "small", "embedding")
    assert (call.prompt_tokens, call.completion_tokens) == (7, 0)
    assert call.schedule_id == schedule_id


def test_without_a_model_of_embeddings_nobody_is_asked(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "env", env.model_copy(update={"embedding_model": ""}))

    assert embedding.embedder(provider) is None


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
    embed = embedding.embedder(provider)
    assert embed is not None

    with pytest.raises(ModelError) as failed:
        embed(["one"])

    assert failed.value.error_class is error_class
    call = ModelCall.objects.get()
    assert (call.status, call.failure_class) == ("failed", error_class.value)
    assert len(httpserver.log) == 1


def test_a_server_that_is_not_there_is_a_passing_failure() -> None:
    provider = Provider.objects.create(name="nobody", base_url="http://127.0.0.1:1/v1")
    embed = embedding.embedder(provider)
    assert embed is not None

    with pytest.raises(ModelError) as failed:
        embed(["one"])

    assert failed.value.error_class is ErrorClass.TRANSIENT


def test_whoever_wants_it_stopped_is_heard(provider: Provider) -> None:
    def stop() -> None:
        raise Cancelled("asked to stop")

    embed = embedding.embedder(provider, check=stop)
    assert embed is not None

    with pytest.raises(Cancelled):
        embed(["one"])
