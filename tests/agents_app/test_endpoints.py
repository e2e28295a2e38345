"""Registered endpoints: what may be called, what it carries, and what a plan may tell it."""

from __future__ import annotations

from typing import Any

import pytest

from agents_app.models import Endpoint
from agents_app.objects import endpoints, schemas
from agents_app.objects.drafts import InUse, Invalid, Unknown
from executions_app.audit import SYSTEM
from scheduler_app.models import Schedule
from tests.agents_app.objects import (
    SECRET,
    audited,
    credential,
    endpoint,
    everything_audited,
    person,
)
from tests.factories import ScheduleFactory

REGION = {
    "type": "object",
    "properties": {"region": {"type": "string", "enum": ["eu", "us"]}},
    "required": ["region"],
}
database = pytest.mark.django_db


def refused(**words: Any) -> set[str]:
    """The fields that are refused."""
    with pytest.raises(Invalid) as raised:
        endpoint(person(), **words)
    assert not Endpoint.objects.exists()
    return {one.path[0] if one.path else "" for one in raised.value.problems}


@database
def test_an_endpoint_is_stored_closed_unless_it_says_otherwise() -> None:
    ada = person()
    made = endpoint(
        ada,
        name="warm-eu",
        method="post",
        url="https://example.com/{region}",
        parameters_schema=REGION,
    )

    row = Endpoint.objects.get(id=made.id)
    assert (row.owner, row.method, row.side_effect, row.retry) == (ada, "POST", "write", {})
    assert row.parameters_schema == {**REGION, "additionalProperties": False}
    assert endpoint(ada).side_effect == "read"
    assert endpoint(ada).parameters_schema == {
        "type": "object", "properties": {}, "additionalProperties": False,
    }  # fmt: skip
    assert endpoint(ada, method="POST", side_effect="read").side_effect == "read"
    assert set(audited(made.id)) == {"endpoint.created"}


@database
@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://{host}.example.com/"}, "url"),
        ({"url": "https://example.com/?region={region}"}, "url"),
        ({"url": "https://example.com/?api_key=abc"}, "url"),
        ({"url": "https://ada:word@example.com/"}, "url"),
        ({"url": "https://example.com/#a"}, "url"),
        ({"url": "https://example.com/{region"}, "url"),
        ({"url": "https://example.com/{region}"}, "parameters_schema"),
        ({"method": "TRACE"}, "method"),
        ({"method": "CONNECT"}, "method"),
        ({"method": 7}, "method"),
        ({"method": "DELETE", "side_effect": "read"}, ""),
        ({"side_effect": "harmless"}, "side_effect"),
        ({"timeout_ms": 0}, "timeout_ms"),
        ({"timeout_ms": 300_001}, "timeout_ms"),
        ({"headers": {"Host": "example.org"}}, "headers"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "headers"),
        ({"headers": {"Authorization": "Bearer abcdefgh"}}, "headers"),
        ({"headers": {"X-Api-Key": "abcdefgh"}}, "headers"),
        ({"headers": {"X-Key": {"credential": "nobodys"}}}, "headers"),
        ({"headers": {"X-Key": {"value": "a"}}}, "headers"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, ""),
        ({"headers": {f"X-{one}": "a" for one in range(21)}}, "headers"),
        ({"retry": {"max_retries": 11}}, "retry"),
        ({"retry": {"retryable_classes": ["sometimes"]}}, "retry"),
        ({"retry": {"max_retries": 3, "per_class": {"timeout": {"max_retries": 4}}}}, "retry"),
        ({"retry": {"attempts": 3}}, "retry"),
        ({"parameters_schema": {"type": "string"}}, "parameters_schema"),
        ({"parameters_schema": []}, "parameters_schema"),
        ({"description": "a" * 2_001}, "description"),
        ({"is_registered": True}, "is_registered"),
    ],
)
def test_what_may_not_be_called_is_refused(words: dict[str, Any], field: str) -> None:
    assert field in refused(**words)


@database
def test_what_stands_in_the_path_is_a_required_text_or_number() -> None:
    url = "https://example.com/{region}/{id}"
    properties = {"region": {"type": "array"}, "id": {"type": "integer"}}

    with pytest.raises(Invalid) as raised:
        endpoint(
            person(), url=url, parameters_schema={"properties": properties, "required": ["region"]}
        )

    messages = " ".join(one.message for one in raised.value.problems)
    assert "{region} stands in the URL, so its type" in messages
    assert "{id} stands in the URL, so it has to be required" in messages


@database
def test_a_credential_is_named_where_it_travels() -> None:
    ada = person()
    credential(ada, name="bearer")
    credential(ada, name="key", kind="header", parameter="X-Key")
    credential(ada, name="query", kind="query", parameter="key")

    made = endpoint(
        ada,
        headers={
            "authorization": {"credential": "bearer"},
            "X-Key": {"credential": "key"},
            "key": {"credential": "query"},
            "X-Team": "a",
        },
    )
    for header, name in (("X-Key", "bearer"), ("Authorization", "key"), ("X-Key", "query")):
        with pytest.raises(Invalid, match="travels as"):
            endpoint(ada, headers={header: {"credential": name}})

    assert SECRET not in repr(made.headers)
    assert "s3cr3t" not in everything_audited()


@database
def test_only_own_and_shared_credentials_may_be_named() -> None:
    ada, bob = person(), person()
    credential(bob, name="bobs")
    credential(name="everybodys")

    endpoint(ada, headers={"Authorization": {"credential": "everybodys"}})
    with pytest.raises(Invalid) as raised:
        endpoint(ada, headers={"Authorization": {"credential": "bobs"}})

    (problem,) = raised.value.problems
    assert problem.path == ("headers", "Authorization", "credential")


@database
def test_a_change_keeps_what_it_does_not_name() -> None:
    made = endpoint(person(), headers={"X-Team": "a"}, retry={"max_retries": 1, "base_ms": 5})

    changed = endpoints.change(made.id, {"method": "DELETE"}, actor=SYSTEM)

    assert (changed.side_effect, changed.headers) == ("write", {"X-Team": "a"})
    assert changed.retry == {"max_retries": 1, "base_ms": 5}
    told = audited(made.id)["endpoint.updated"]
    assert (told.before, told.after) == (
        {"method": "GET", "side_effect": "read"},
        {"method": "DELETE", "side_effect": "write"},
    )


@database
def test_one_that_a_schedule_names_is_neither_removed_nor_renamed() -> None:
    ada, bob = person(), person()
    made, theirs = endpoint(ada, name="warm"), endpoint(bob, name="warm")
    schedule: Schedule = ScheduleFactory.create(owner=ada, name="nightly")
    config = {"goal": "a", "endpoints": ["warm"]}
    Schedule.objects.filter(id=schedule.id).update(task_type="agent", task_config=config)

    with pytest.raises(InUse, match="'nightly'"):
        endpoints.remove(made.id, actor=SYSTEM)
    with pytest.raises(Invalid, match="'nightly'"):
        endpoints.change(made.id, {"name": "other"}, actor=SYSTEM)
    endpoints.remove(theirs.id, actor=SYSTEM)

    with pytest.raises(Unknown):
        endpoints.remove(theirs.id, actor=SYSTEM)


def doubling(levels: int) -> dict[str, Any]:
    """A small schema that unfolds to two to the power of `levels` parts."""
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, levels + 1):
        below = {"$ref": f"#/$defs/d{level - 1}"}
        defs[f"d{level}"] = {"allOf": [below, below]}
    return {"$defs": defs, "properties": {"a": {"$ref": f"#/$defs/d{levels}"}}}


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        found = {"type": "array", "items": found}
    return {"properties": {"a": found}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"$ref": "https://example.com/a.json"},
        {"properties": {"a": {"$ref": "other.json#/a"}}},
        {"properties": {"a": {"$ref": 7}}},
        {"properties": {"a": {"$ref": "#/$defs/a"}}},
        {"$id": "https://example.com/"},
        {"properties": {"a": {"pattern": "(?=a)b"}}},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"properties": {"a": {"type": "text"}}},
        {"properties": {"a": {"minimum": "one"}}},
        {"properties": 7},
        {"required": "a"},
        {"properties": {"a": {"enum": ["x" * 20_000]}}},
        {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        doubling(14),
        deep(400),
    ],
)
def test_a_schema_that_no_plan_may_be_held_against_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        schemas.checked(schema)


def test_words_of_schemas_may_be_names_and_values_of_parameters() -> None:
    schema = {
        "properties": {
            "pattern": {"type": "string", "default": "$id"},
            "$id": {"enum": [{"$ref": "https://example.com"}]},
            "place": {"$ref": "#/$defs/place"},
            "other": {"$ref": "#/$defs/place"},
        },
        "$defs": {"place": {"type": "string", "maxLength": 9, "pattern": "^[A-Z]+$"}},
        "additionalProperties": {"type": "integer"},
    }

    found = schemas.checked(schema)

    assert found == {"type": "object", **schema}
    assert schemas.checked(found) == found
