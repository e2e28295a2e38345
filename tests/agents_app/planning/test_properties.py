"""Whatever a model says, it is judged, kept in part or refused; never carried out by half."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agents_app.planning.asking import Patience, Product, ask_for
from agents_app.planning.contracts import Plan, PlanStep
from agents_app.planning.malformed import MalformedResponseError
from agents_app.planning.parameter_schemas import UnusableSchema, check_schema, misfits
from agents_app.planning.validation import waves
from tests.agents_app.planning.asked import (
    GONE,
    RIGHTS,
    Script,
    advice,
    advice_contract,
    analysis_contract,
    plan,
    plan_contract,
    question,
    step,
    text,
)

IDS = ("a", "b", "c", "d", "e", "f", "g")
CONTRACTS: tuple[Any, ...] = (plan_contract(), advice_contract(is_strict=True), analysis_contract())

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["dependency", "endpoint", "warm", "interval", "{}", "2026-07-01T00:00:00Z"])
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["steps", "id", "depends_on", "action", "sub_tasks", "x"]), inner
        )
    ),
    max_leaves=12,
)


def or_junk(sound: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there, at times anything, at times nothing."""
    return st.one_of(sound, sound, sound, sound, sound, st.just(GONE), anything)


said_steps = st.builds(
    step,
    st.sampled_from(IDS),
    target=or_junk(st.sampled_from(["endpoint", "endpoint", "tool"])),
    name=or_junk(st.sampled_from(["warm", "warm", "warm", "deploy", "search", "payroll"])),
    parameters_json=or_junk(st.sampled_from(["{}", "{}", '{"region": "eu"}', "{"])),
    depends_on=or_junk(st.lists(st.sampled_from((*IDS, "ghost")), max_size=3)),
    priority=or_junk(st.integers(0, 100)),
    critical=or_junk(st.booleans()),
)
said_plans = st.builds(
    lambda steps, changes: plan(**({"steps": steps} | changes)),
    st.lists(st.one_of(said_steps, said_steps, said_steps, anything), max_size=8),
    st.fixed_dictionaries(
        {
            "strategy": or_junk(st.sampled_from(["sequential", "parallel", "dependency"])),
            "concurrency": or_junk(st.integers(1, 4)),
            "confidence": or_junk(st.floats(0, 1)),
        }
    ),
)
said_advice = st.builds(
    advice,
    or_junk(st.sampled_from(["keep", "interval", "pause", "next_run_at"])),
    interval_ms=or_junk(st.integers(-1, 10**8)),
    next_run_at=or_junk(st.datetimes().map(lambda one: f"{one.isoformat()}Z")),
    pause_until=or_junk(st.datetimes().map(lambda one: f"{one.isoformat()}Z")),
    confidence=or_junk(st.floats(0, 1)),
)
answers = st.one_of(
    st.binary(max_size=200).map(lambda one: one.decode("utf-8", errors="surrogateescape")),
    st.text(max_size=200),
    st.text(alphabet='{}[]":,\\ae1 ', max_size=60),
    anything.map(json.dumps),
    said_plans.map(text),
    said_advice.map(text),
)


def acyclic(edges: list[set[int]], strategy: Any, order: list[int]) -> Plan:
    """A plan whose steps depend on some with a lower number, listed in any order."""
    steps = [
        PlanStep(
            f"s{number}",
            "endpoint",
            "warm",
            depends_on=tuple(f"s{one}" for one in sorted(before) if one < number),
        )
        for number, before in enumerate(edges)
    ]
    return Plan(strategy, 3, tuple(steps[place] for place in order if place < len(steps)))


plans = st.lists(st.sets(st.integers(0, 11)), max_size=12).flatmap(
    lambda edges: st.builds(
        acyclic,
        st.just(edges),
        st.sampled_from(["sequential", "parallel", "dependency"]),
        st.permutations(range(len(edges))),
    )
)


@given(answers, st.integers(0, 3), st.booleans())
@settings(max_examples=300)
def test_any_answer_is_used_or_refused_and_nothing_else_happens(
    said: str, repairs: int, is_strict: bool
) -> None:
    for contract in CONTRACTS:
        script = Script([said] * (repairs + 1))
        try:
            product: Product[Any] = ask_for(
                contract,
                question=question(),
                ask=script.ask,
                mark=script.mark,
                patience=Patience(most_repairs=repairs, is_strict=is_strict),
            )
        except MalformedResponseError as error:
            refused = error
        else:
            assert contract.problems_of(product.value) == []
            continue
        assert refused.problems
        assert len(script.asked) == refused.attempts <= repairs + 1


@given(answers)
@settings(max_examples=200)
def test_an_answer_has_a_value_or_problems_never_both(said: str) -> None:
    for contract in CONTRACTS:
        judged = contract.judge(said)

        assert (judged.value is None) == bool(judged.problems)


@given(said_plans)
@settings(max_examples=300)
def test_what_is_salvaged_of_a_plan_is_valid_and_was_said(said: dict[str, Any]) -> None:
    kept = plan_contract().salvage(text(said)).value

    if kept is not None:
        assert plan_contract().problems_of(kept) == []
        assert all((one.target, one.name) in RIGHTS.open for one in kept.steps)
        told = [one for one in said["steps"] if isinstance(one, dict)]
        for one in kept.steps:
            assert any(
                one.id == other.get("id") and one.name == other.get("name") for other in told
            )
        waves(kept)


@given(said_plans)
@settings(max_examples=200)
def test_a_sound_plan_needs_no_salvage_and_comes_back_from_storage(said: dict[str, Any]) -> None:
    judged = plan_contract().judge(text(said))

    if judged.value is not None:
        assert plan_contract().salvage(text(said)).value == judged.value
        assert Plan.from_json(json.loads(json.dumps(judged.value.as_json()))) == judged.value


@given(plans)
@settings(max_examples=300)
def test_waves_hold_every_step_once_and_none_before_what_it_depends_on(said: Plan) -> None:
    order = waves(said)

    assert sorted(one.id for wave in order for one in wave) == sorted(one.id for one in said.steps)
    known = {one.id for one in said.steps}
    done: set[str] = set()
    for wave in order:
        assert wave
        for one in wave:
            assert done >= known & set(one.depends_on)
        done |= {one.id for one in wave}
    if said.strategy == "sequential":
        assert all(len(wave) == 1 for wave in order)


@given(st.lists(said_plans.map(text), min_size=1, max_size=4))
@settings(max_examples=150)
def test_a_repaired_answer_is_taken_only_if_it_is_valid(said: list[str]) -> None:
    script = Script(said)
    contract = plan_contract()
    good = [contract.judge(one).value for one in said]

    try:
        product = ask_for(
            contract,
            question=question(),
            ask=script.ask,
            mark=script.mark,
            patience=Patience(most_repairs=len(said) - 1, is_strict=True),
        )
    except MalformedResponseError:
        assert all(one is None for one in good[: len(script.asked)])
    else:
        assert product.value == good[len(script.asked) - 1]
        assert all(one is None for one in good[: len(script.asked) - 1])


keywords = st.sampled_from(
    [
        "type", "properties", "items", "enum", "const", "pattern", "patternProperties", "required",
        "additionalProperties", "$ref", "$defs", "minimum", "multipleOf", "uniqueItems", "anyOf",
        "not", "if", "then", "minLength", "contains", "propertyNames", "dependentSchemas", "a", "b",
    ]
)  # fmt: skip
words = st.sampled_from(["object", "string", "integer", "array", "#/$defs/a", "^a", "(", "a+", ""])
schemas = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keywords, inner, max_size=4),
    max_leaves=14,
)
given_parameters = st.dictionaries(st.sampled_from(["a", "b", "\ud800"]), anything, max_size=3)


@given(given_parameters, schemas)
@settings(max_examples=400)
def test_whatever_the_schema_parameters_fit_it_or_not(
    parameters: dict[str, Any], schema: object
) -> None:
    found = misfits(parameters, schema=schema)

    assert all(how for _, how in found)
    try:
        check_schema(schema)
    except UnusableSchema:
        assert found
