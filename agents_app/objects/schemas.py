"""What a plan may tell an endpoint: the JSON Schema of its parameters, as it is stored.

What a schema does not name is not sent, unless it says so. `planning.parameter_schemas` says which
schemas a plan can be held to at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agents_app.planning import parameter_schemas

MOST_BYTES: Final = 16 * 1024
VERSIONS: Final = frozenset({"https://json-schema.org/draft/2020-12/schema"})
SIMPLE: Final = frozenset({"string", "integer", "number", "boolean"})
"""What can stand in a URL."""


def checked(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as it is stored; raises ValueError. An empty one admits no parameters."""
    found = {"type": "object", "properties": {}, "additionalProperties": False, **schema}
    if found["type"] != "object":
        raise ValueError('parameters have names: its type is "object"')
    if found.get("$schema", next(iter(VERSIONS))) not in VERSIONS:
        raise ValueError("$schema can only be draft 2020-12")
    if len(json.dumps(found).encode()) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    parameter_schemas.check_schema(found)
    return found


def path_problems(schema: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """What keeps parameters from standing in a URL: each is required, and a text or a number."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    for name in names:
        if name not in properties:
            yield f"{{{name}}} stands in the URL and not in parameters_schema"
        elif name not in required:
            yield f"{{{name}}} stands in the URL, so it has to be required"
        elif not _is_simple(properties[name]):
            yield f"{{{name}}} stands in the URL, so its type is one of {', '.join(sorted(SIMPLE))}"


def _is_simple(schema: Any) -> bool:
    """Whether only texts and numbers fit."""
    return isinstance(schema, Mapping) and (
        schema.get("type") in SIMPLE or _are_simple(schema.get("enum", [schema.get("const")]))
    )


def _are_simple(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(one, str | int | float) for one in values)
