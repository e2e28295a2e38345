"""The room for an answer and its prompt, by what is asked for, the setting and the model."""

from __future__ import annotations

from typing import Any

import pytest

from agents_app.clients import llm_question
from agents_app.models import Provider
from agents_app.planning import room
from tests.agents_app.planning.asked import advice_contract, analysis_contract, plan_contract

MODEL = "small"


def found(wanted: int, context: Any = None, *, most: int = 16_000) -> room.Room:
    provider = Provider(models=[{"name": MODEL, "context_tokens": context}])
    return room.found(wanted, provider=provider, model=MODEL, most=most)


def test_a_plan_may_be_as_long_as_its_steps_take_and_everything_else_as_ever() -> None:
    assert plan_contract(most_steps=50).answer_tokens == 400 + 120 * 50
    assert plan_contract(most_steps=3).answer_tokens == 2_000
    assert advice_contract().answer_tokens == analysis_contract().answer_tokens == 2_000


def test_the_setting_stands_above_what_is_wanted() -> None:
    assert found(60_400, most=16_000).answer == 16_000
    assert found(6_400, most=16_000).answer == 6_400


@pytest.mark.parametrize("holds", [1, 100, 1_000, 4_096, 8_192, 128_000])
def test_a_model_is_asked_for_no_more_than_it_holds(holds: int) -> None:
    got = found(6_400, holds)

    assert 1 <= got.answer <= max(1, holds // 2)
    assert got.prompt is not None
    assert got.prompt >= 1
    assert got.answer + got.prompt <= max(2, holds)
    assert got.enough == min(got.answer, 2_000)


def test_a_large_model_is_limited_by_nothing_that_it_holds() -> None:
    assert found(6_400, 128_000) == room.Room(answer=6_400, enough=2_000, prompt=121_100)


@pytest.mark.parametrize("unknown", [None, "8000", 0, -1, 8.5])
def test_of_a_model_of_unknown_size_no_prompt_is_shortened(unknown: Any) -> None:
    assert found(6_400, unknown).prompt is None
    assert room.context_tokens(Provider(models=[{"name": "other"}]), MODEL) is None
    assert room.context_tokens(Provider(models=None), MODEL) is None


def test_an_answer_that_nobody_bounds_is_as_long_as_any() -> None:
    assert llm_question.USUAL_ANSWER_TOKENS == room.ANY_ANSWER
