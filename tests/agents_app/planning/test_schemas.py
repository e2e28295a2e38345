"""The JSON Schemas as strict servers take them, and the same names as what reads the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from agents_app.planning import schemas
from tests.agents_app.planning.asked import advice, analysis, plan, step

ALL = {
    "plan": schemas.plan_schema(["warm", "deploy"]),
    "advice": schemas.advice_schema(),
    "analysis": schemas.analysis_schema(["search"]),
}
FORBIDDEN = {"oneOf", "anyOf", "allOf", "not", "if", "$ref", "patternProperties", "default"}
KNOWN = {"type", "description", "enum", "items", "properties", "required", "additionalProperties"}


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    yield schema
    for one in schema.get("properties", {}).values():
        yield from parts(one)
    if "items" in schema:
        yield from parts(schema["items"])


@pytest.mark.parametrize("name", ALL)
def test_a_schema_has_only_what_strict_servers_take(name: str) -> None:
    for part in parts(ALL[name]):
        assert not FORBIDDEN & part.keys()
        assert part.keys() <= KNOWN
        if part["type"] == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("plan", schemas.PlanAnswer),
        ("advice", schemas.AdviceAnswer),
        ("analysis", schemas.AnalysisAnswer),
    ],
)
def test_the_schema_asks_for_the_fields_that_are_read(name: str, model: type[BaseModel]) -> None:
    assert list(model.model_fields) == ALL[name]["required"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plan", plan(step(), step("b", name="deploy", depends_on=["a"]))),
        ("advice", advice()),
        ("advice", advice("interval", interval_ms=60_000)),
        ("analysis", analysis()),
    ],
)
def test_what_is_read_fits_the_schema_that_was_asked_for(name: str, said: dict[str, Any]) -> None:
    Draft202012Validator(ALL[name]).validate(said)


def test_the_schemas_are_those_that_are_kept() -> None:
    kept = json.loads((Path(__file__).parent / "schemas.json").read_text())

    assert kept == ALL


def test_a_plan_is_offered_the_names_that_it_may_call() -> None:
    (names,) = [part["enum"] for part in parts(ALL["plan"]) if "warm" in part.get("enum", ())]

    assert names == ["warm", "deploy"]


def test_more_names_than_a_strict_schema_may_list_are_only_checked_afterwards() -> None:
    schema = schemas.plan_schema([f"endpoint-{number}" for number in range(300)])

    assert "endpoint-0" not in json.dumps(schema)
