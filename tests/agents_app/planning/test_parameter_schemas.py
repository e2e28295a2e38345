"""Parameters are held to the schema of the endpoint's owner, and that schema to bounds."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from agents_app.planning.parameter_schemas import UnusableSchema, check_schema, misfits
from tests.agents_app.planning.asked import REGION

SLOW = {"properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}}


def laughs(depth: int) -> dict[str, Any]:
    """Each definition twice in the one before: 2 to the power of `depth` parts."""
    definitions = {
        f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(depth)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{depth}": {}}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


UNUSABLE: dict[str, Any] = {
    "no object": ["a"],
    "a word": "object",
    "an unknown type": {"type": "thing"},
    "a remote reference": {"$ref": "https://example.com/schema.json"},
    "a reference to a file": {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
    "a base on the web": {"$id": "https://example.com/", "$ref": "other.json"},
    "a reference to nothing": {"$ref": "#/$defs/nothing"},
    "a reference to the whole": {"properties": {"a": {"$ref": "#"}}},
    "a definition within itself": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}},
    },
    "a ring behind a property named default": {
        "properties": {"default": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"properties": {"enum": {"$ref": "#/$defs/a"}}}},
    },
    "a billion laughs": laughs(30),
    "thousands of parts": {"properties": {f"p{n}": {"type": "string"} for n in range(5_000)}},
    "a deep one": {"items": nested(200)},
    "a pattern that looks ahead": {"properties": {"a": {"pattern": "(?=a)b"}}},
    "a pattern that refers back": {"properties": {"a": {"pattern": r"(a)\1"}}},
    "a pattern of names that looks ahead": {"patternProperties": {"(?!x)": {}}},
    "an endless pattern": {"properties": {"a": {"pattern": "a" * 600}}},
    "a broken pattern": {"properties": {"a": {"pattern": "("}}},
    "a dynamic reference": {"$dynamicRef": "#a"},
    "what is left unevaluated": {"unevaluatedProperties": False},
}


@pytest.mark.parametrize("schema", UNUSABLE.values(), ids=UNUSABLE)
def test_a_schema_that_nobody_can_be_held_to_is_refused_and_lets_nothing_through(
    schema: Any,
) -> None:
    with pytest.raises(UnusableSchema):
        check_schema(schema)
    assert misfits({"a": "b"}, schema=schema) != []


def test_parameters_that_fit_have_no_misfits() -> None:
    assert misfits({"region": "eu", "count": 3}, schema=REGION) == []


def test_every_misfit_is_told_at_its_place() -> None:
    found = misfits({"region": "moon", "count": "3", "force": True}, schema=REGION)

    assert {where for where, _ in found} == {"region", "count", "force"}


def test_an_empty_schema_asks_for_nothing() -> None:
    assert misfits({"anything": [1, {"deep": True}]}, schema={}) == []


def test_references_within_the_schema_are_followed() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}

    assert misfits({"a": 1}, schema=schema) == []
    assert misfits({"a": "1"}, schema=schema) != []


def test_patterns_are_searched_as_json_schema_says() -> None:
    schema = {
        "properties": {"a": {"pattern": "b+"}},
        "patternProperties": {"^x-": {"type": "integer"}},
        "additionalProperties": False,
    }

    assert misfits({"a": "abc", "x-y": 1}, schema=schema) == []
    assert [where for where, _ in misfits({"a": "c"}, schema=schema)] == ["a"]
    assert [where for where, _ in misfits({"x-y": "1"}, schema=schema)] == ["x-y"]
    assert [where for where, _ in misfits({"y-x": 1}, schema=schema)] == ["y-x"]


def test_further_parameters_may_have_a_schema_of_their_own() -> None:
    schema = {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}

    assert misfits({"a": "x", "b": 1}, schema=schema) == []
    assert [where for where, _ in misfits({"b": "x"}, schema=schema)] == ["b"]


def test_a_property_may_be_named_like_a_keyword() -> None:
    schema = {"properties": {"pattern": {"type": "string"}, "$id": {"type": "integer"}}}

    check_schema(schema)
    assert misfits({"pattern": "(?=", "$id": 1}, schema=schema) == []


def test_a_pattern_made_to_take_forever_is_answered() -> None:
    found: list[list[tuple[str, str]]] = []
    thread = threading.Thread(
        target=lambda: found.append(misfits({"text": "a" * 5_000 + "!"}, schema=SLOW)), daemon=True
    )
    thread.start()
    thread.join(timeout=60)

    assert [where for where, _ in found[0]] == ["text"]


def test_parameters_of_any_size_are_not_looked_at() -> None:
    assert misfits({"a": "x" * 70_000}, schema={}) != []
    assert misfits({"a": list(range(3_000))}, schema={}) != []
    assert misfits({"a": float("nan")}, schema={}) != []


def test_many_values_are_not_held_to_a_large_schema() -> None:
    schema = {"properties": {"a": {"items": {"anyOf": [{"const": n} for n in range(400)]}}}}

    ((_, how),) = misfits({"a": list(range(1_900))}, schema=schema)
    assert "too many values" in how


def test_a_message_is_bounded() -> None:
    found = misfits({"region": "x" * 10_000}, schema=REGION)

    assert all(len(how) <= 200 for _, how in found)
