"""What a model is told fits its limits, and what must be told is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_app.agent_config import PromptOptimization
from agents_app.clients import llm_question
from agents_app.planning import prompts, trimming
from agents_app.planning.job_context import (
    EndpointFacts,
    EndpointUse,
    JobContext,
    Limits,
    Note,
    PastRun,
    ToolFacts,
)
from agents_app.planning.trimming import trim
from tests.agents_app.told import AMPLE, NOW, a_context, notes, with_long_history

LIMITS = st.builds(
    Limits,
    max_messages=st.integers(-3, 60),
    max_endpoint_usage=st.integers(-3, 60),
    max_tokens=st.integers(0, 6_000),
)
TEXT = st.text(max_size=120)
SCHEMAS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("object"),
        "properties": st.dictionaries(
            st.text(max_size=8),
            st.one_of(
                st.just({}),
                st.just({"type": "integer", "minimum": 1, "description": "how much of it"}),
                st.just({"enum": ["a", "b"]}),
                st.just(True),
            ),
            max_size=4,
        ),
        "required": st.lists(st.text(max_size=8), max_size=3),
    },
)
CONTEXTS = st.builds(
    a_context,
    runs=st.lists(
        st.builds(
            PastRun, ended_at=st.just(NOW), status=st.sampled_from(["failed", "completed"]),
            headline=TEXT,
        ),
        max_size=8,
    ).map(tuple),
    usage=st.lists(
        st.builds(EndpointUse, name=TEXT, calls=st.integers(1, 9), failures=st.integers(0, 9)),
        max_size=8,
    ).map(tuple),
    messages=st.lists(st.builds(Note, kind=st.just("message"), text=TEXT, at=st.just(NOW)),
                      max_size=12).map(tuple),
    memory=st.lists(st.builds(Note, kind=st.just("fact"), text=TEXT, at=st.just(NOW)),
                    max_size=8).map(tuple),
    endpoints=st.lists(
        st.builds(EndpointFacts, name=TEXT, description=TEXT, parameters_schema=SCHEMAS), max_size=4
    ).map(tuple),
    tools=st.lists(
        st.builds(ToolFacts, name=TEXT, description=TEXT, parameters_schema=SCHEMAS), max_size=4
    ).map(tuple),
    token_ratio=st.sampled_from([0.25, 0.9, 1.0, 1.7, 4.0]),
)  # fmt: skip


def size(context: JobContext) -> int:
    return trimming.tokens(context.as_text())


def test_what_fits_is_left_as_it_is() -> None:
    context = a_context()

    trimmed = trim(context, AMPLE, measure=size)

    assert trimmed.context == context
    assert trimmed.dropped == {}


def test_a_long_history_is_trimmed_to_the_limits_of_number() -> None:
    limits = Limits(max_messages=5, max_endpoint_usage=7, max_tokens=100_000)
    context = with_long_history()

    trimmed = trim(context, limits, measure=size)

    assert trimmed.context.messages == context.messages[:5]
    assert trimmed.context.usage == context.usage[:7]
    assert trimmed.dropped == {"messages": 35, "usage": 53}


def test_the_last_three_messages_stay_whatever_the_limits_say() -> None:
    limits = Limits(max_messages=0, max_endpoint_usage=0, max_tokens=0)
    context = with_long_history()

    trimmed = trim(context, limits, measure=size)

    assert trimmed.context.messages == context.messages[:3]
    assert trimmed.context.job == context.job
    assert [one.name for one in trimmed.context.endpoints] == ["warm-eu", "hit-rate"]
    assert [one.name for one in trimmed.context.tools] == ["notify"]
    assert not any(getattr(trimmed.context, name) for name in ("memory", "usage", "runs"))


@pytest.mark.parametrize("kept", ["nothing", *trimming.LEFT_OUT])
def test_sections_go_one_after_the_other_in_the_order_that_is_written_down(kept: str) -> None:
    context = with_long_history()
    gone = trimming.LEFT_OUT[: (trimming.LEFT_OUT.index(kept) if kept != "nothing" else None)]
    floor: dict[str, Any] = {
        name: context.messages[:3] if name == "messages" else () for name in gone
    }
    smaller = replace(context, **floor)
    limits = Limits(max_messages=50, max_endpoint_usage=70, max_tokens=size(smaller))

    trimmed = trim(context, limits, measure=size)

    assert trimmed.context == smaller


def test_no_more_is_left_out_than_must_be() -> None:
    context = with_long_history()
    limits = Limits(max_messages=50, max_endpoint_usage=70, max_tokens=size(context) - 1)

    trimmed = trim(context, limits, measure=size)

    assert trimmed.dropped == {"memory": 1}
    assert trimmed.context.memory == context.memory[:-1]


def test_schemas_keep_names_and_types_before_they_go() -> None:
    schema = a_context().endpoints[0].parameters_schema

    assert trimming.outline(schema) == {
        "properties": {"depth": {"type": "integer"}},
        "required": ["depth"],
    }
    assert trimming.outline({"properties": {"any": True}}) == {"properties": {"any": {}}}


@settings(max_examples=150)
@given(context=CONTEXTS, limits=LIMITS, phase=st.sampled_from(prompts.PHASES))
def test_an_optimised_prompt_never_has_more_tokens_and_keeps_its_floor(
    context: JobContext, limits: Limits, phase: str
) -> None:
    original = prompts.untrimmed(phase, context, limits=limits)

    optimised = prompts.messages_for(phase, context, limits=limits)

    assert optimised.estimated_tokens <= original.estimated_tokens
    assert optimised.messages[0] == original.messages[0]
    assert optimised.messages[0].role == "system"
    assert context.job.goal in optimised.messages[1].content
    kept = prompts.trimmed(phase, context, limits=limits).context
    assert kept.messages[:3] == context.messages[:3]
    assert kept.job == context.job
    fitted = optimised.estimated_tokens <= limits.max_tokens
    least = Limits(max_messages=0, max_endpoint_usage=0, max_tokens=0)
    floor = prompts.messages_for(phase, context, limits=least)
    assert fitted or optimised.estimated_tokens <= max(limits.max_tokens, floor.estimated_tokens)


def test_the_settings_of_a_schedule_are_limits_as_they_are() -> None:
    limits = PromptOptimization(max_messages=4, max_tokens=500)

    kept = prompts.trimmed("plan", with_long_history(), limits=limits)

    assert len(kept.context.messages) <= 4
    assert kept.dropped


def test_our_estimate_is_that_of_the_door() -> None:
    for text in ("", "a", "four", "fives", "x" * 1001):
        assert trimming.tokens(text) == llm_question.estimated_tokens(text)


def test_the_estimate_is_corrected_by_what_the_model_has_counted() -> None:
    ratio = trimming.ratio(reported=150, characters=400)

    assert ratio == 1.5
    assert trimming.tokens("x" * 400, ratio=ratio) == 150


@pytest.mark.parametrize(
    ("reported", "characters", "expected"),
    [(0, 100, 1.0), (100, 0, 1.0), (10_000, 4, 4.0), (1, 40_000, 0.25)],
)
def test_a_ratio_beyond_reason_is_not_believed(
    reported: int, characters: int, expected: float
) -> None:
    assert trimming.ratio(reported=reported, characters=characters) == expected


def test_a_model_that_counts_more_is_told_less() -> None:
    context = with_long_history(memory=notes("fact", *["a fact worth some words"] * 30))
    limits = Limits(max_messages=40, max_endpoint_usage=60, max_tokens=4_000)

    plain = prompts.trimmed("plan", context, limits=limits)
    corrected = prompts.trimmed("plan", replace(context, token_ratio=2.0), limits=limits)

    assert sum(corrected.dropped.values()) > sum(plain.dropped.values()) > 0
