"""The scripted model itself: what tests and people rely on when they use it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from agents_app.planning.schemas import AdviceAnswer, AnalysisAnswer, PlanAnswer
from tests.fakes.model_answers import ADVICE, ANALYSIS, endpoints_of, plan_for, plans_by_itself
from tests.fakes.model_script import Asked, fails, plan_of, says
from tests.fakes.model_server import ModelServer, model_server

CHECKOUT = Path(__file__).resolve().parents[2]
LIST = 'Endpoints, one per line:\n{"name": "warm-eu"}\n{"name": "warm-us"}\n\n# What happened\n'


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as server:
        yield server


def _ask(
    server: ModelServer, phase: str = "", path: str = "chat/completions", *, model: str = "small"
) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": LIST}], "input": ["a b"]}
    headers = {"X-Cadenza-Phase": phase} if phase else {}
    return requests.post(f"{server.url}/{path}", json=body, headers=headers, timeout=10)


def test_replies_of_a_phase_come_in_their_order_and_the_last_one_stays(
    server: ModelServer,
) -> None:
    server.on("plan", fails(503), says("one"), says("two"))
    server.on("schedule", says("later"))

    said = [_ask(server, "plan") for _ in range(4)]

    assert [one.status_code for one in said] == [503, 200, 200, 200]
    texts = [one.json()["choices"][0]["message"]["content"] for one in said[1:]]
    assert texts == ["one", "two", "two"]
    assert _ask(server, "schedule").json()["choices"][0]["message"]["content"] == "later"
    assert (server.count("plan"), server.count("schedule"), server.count()) == (4, 1, 5)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_ends_where_it_may_be_no_longer(server: ModelServer, name: str) -> None:
    server.on("plan", says("x" * 41))

    def asked(most: int) -> Any:
        body = {"model": "small", "messages": [], name: most}
        headers = {"X-Cadenza-Phase": "plan"}
        url = f"{server.url}/chat/completions"
        return requests.post(url, json=body, headers=headers, timeout=10).json()

    cut, whole = asked(10), asked(11)

    (choice,) = cut["choices"]
    assert (len(choice["message"]["content"]), choice["finish_reason"]) == (40, "length")
    assert cut["usage"]["completion_tokens"] == 10
    (choice,) = whole["choices"]
    assert (len(choice["message"]["content"]), choice["finish_reason"]) == (41, "stop")


def test_a_model_with_words_of_its_own_says_these(server: ModelServer) -> None:
    server.on("plan", says("what all say"))
    server.on("plan", says("large words"), model="large")

    said = [_ask(server, "plan", model=one) for one in ("large", "small")]

    texts = [one.json()["choices"][0]["message"]["content"] for one in said]
    assert texts == ["large words", "what all say"]
    assert [one.model for one in server.asked("plan", model="large")] == ["large"]


def test_models_and_embeddings_are_offered(server: ModelServer) -> None:
    models = requests.get(f"{server.url}/models", timeout=10).json()
    vectors = _ask(server, path="embeddings").json()["data"]

    assert [one["id"] for one in models["data"]] == ["small", "large"]
    assert len(vectors) == 1
    assert sum(vectors[0]["embedding"]) == 2


def test_what_it_says_by_itself_fits_the_contracts() -> None:
    names = endpoints_of(LIST)
    asked = Asked(
        phase="plan",
        path="",
        body={"messages": [{"role": "user", "content": LIST}]},
        headers={},
        at=0,
    )

    said = PlanAnswer.model_validate_json(plans_by_itself(asked).text)

    assert names == ["warm-eu", "warm-us"] == [one.name for one in said.steps]
    PlanAnswer.model_validate(plan_of(3))
    PlanAnswer.model_validate(plan_for([]))
    AdviceAnswer.model_validate(ADVICE)
    AnalysisAnswer.model_validate(ANALYSIS)


def test_it_can_be_started_by_hand() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.model_server", "--port", "0"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()

        models = requests.get(f"{url}/models", timeout=10)

        assert models.status_code == 200
    finally:
        process.terminate()
        process.communicate(timeout=20)
