"""Whether the parameters of a call fit the JSON Schema that its owner registered. Pure.

Both sides are strangers: a schema may be made to cost time, a model may be told to make use of it.
So a schema is taken only if it stays within itself (no reference leaves it, none comes back to
itself) and within a size; patterns are matched by RE2, whose time grows with the text alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import re2
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from pydantic import JsonValue
from referencing import Registry
from referencing.exceptions import Unresolvable

from agents_app.planning.problems import at, cut

MOST_NODES: Final = 1_000  # of a schema with its references written out
MOST_LEVELS: Final = 64
MOST_VALUES: Final = 2_000  # in the parameters of one call
MOST_WORK: Final = 200_000  # nodes times values
MOST_CHARACTERS: Final = 65_536
MOST_ERRORS: Final = 20
MOST_PATTERN: Final = 500

_NOT_EVALUATED: Final = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "$anchor",
        "$dynamicAnchor",
        "$id",
        "unevaluatedProperties",
        "unevaluatedItems",
    }
)
# What a keyword holds is data, not a schema: names in it mean nothing.
_DATA: Final = frozenset({"const", "enum", "default", "examples"})
# What stands in these are names of the owner's choice, and a schema under each.
_OF_NAMES: Final = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
Errors = Iterator[ValidationError]


class UnusableSchema(ValueError):
    """The schema cannot be used to check anything; the message is for its owner."""


def check_schema(schema: object) -> None:
    """Raise UnusableSchema, with the first reason, for a schema that no call could be held to."""
    _validator(_text_of(schema))


def misfits(parameters: Mapping[str, JsonValue], *, schema: object) -> list[tuple[str, str]]:
    """Where and how `parameters` do not fit, at most MOST_ERRORS times; empty: they fit.

    An empty schema asks for nothing but an object. A schema that cannot be used lets nothing
    through.
    """
    try:
        values = _values_in(parameters)
    except ValueError as error:
        return [("", str(error))]
    try:
        validator, nodes = _validator(_text_of(schema))
        if nodes * values > MOST_WORK:
            return [("", "hold too many values for a schema of this size")]
        errors = list(islice(validator.iter_errors(dict(parameters)), MOST_ERRORS))
    except UnusableSchema as error:
        return [("", f"cannot be checked: {error}")]
    except (RecursionError, Unresolvable, UnicodeError, OverflowError):
        return [("", "cannot be checked")]
    return [(at(tuple(one.absolute_path)), cut(one.message, 200)) for one in errors]


def _values_in(parameters: Mapping[str, JsonValue]) -> int:
    """About how many values there are; raises ValueError for too many of them."""
    try:
        text = json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("are no JSON") from None
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"take more than {MOST_CHARACTERS} characters of JSON")
    values = 1 + text.count(",") + text.count("[") + text.count("{")
    if values > MOST_VALUES:
        raise ValueError(f"hold more than {MOST_VALUES} values")
    return values


def _text_of(schema: object) -> str:
    try:
        text = json.dumps(schema, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise UnusableSchema("the schema is no JSON") from None
    if len(text) > MOST_CHARACTERS:
        raise UnusableSchema(f"the schema takes more than {MOST_CHARACTERS} characters")
    return text


@lru_cache(maxsize=256)
def _validator(text: str) -> tuple[Validator, int]:
    """What holds parameters to a schema, and how many parts the schema has."""
    schema = json.loads(text)
    if not isinstance(schema, dict):
        raise UnusableSchema("the schema is no JSON object")
    walk = _Walk(schema)
    walk.walk(schema, within=())
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        said = error.message if isinstance(error, SchemaError) else "it is nested too deeply"
        raise UnusableSchema(f"the schema is no JSON Schema: {cut(said, 200)}") from None
    # An empty registry: what the schema does not hold itself is nowhere, least of all on the web.
    return _Bounded(schema, registry=Registry()), walk.size


class _Walk:
    """The size of a schema with its references written out, bounded while it is measured."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self.size = 0

    def walk(self, node: object, *, within: tuple[str, ...]) -> None:
        """`within`: the references that led here, and a blank for each level between."""
        self.size += 1
        if self.size > MOST_NODES or len(within) > MOST_LEVELS:
            raise UnusableSchema(f"the schema has more than {MOST_NODES} parts or too many levels")
        if isinstance(node, list):
            for one in node:
                self.walk(one, within=(*within, ""))
        if isinstance(node, dict):
            for name, value in node.items():
                self._keyword(name, value, within=within)

    def _keyword(self, name: str, value: object, *, within: tuple[str, ...]) -> None:
        if name in _NOT_EVALUATED:
            raise UnusableSchema(f"{name!r} is not supported")
        match name, value:
            case "pattern", str():
                pattern(value)
            case "patternProperties", dict():
                for text in value:
                    pattern(text)
        if name == "$ref":
            self._reference(value, within=within)
        elif name in _OF_NAMES and isinstance(value, dict):
            for one in value.values():
                self.walk(one, within=(*within, ""))
        elif name not in _DATA:
            self.walk(value, within=(*within, ""))

    def _reference(self, to: object, *, within: tuple[str, ...]) -> None:
        if not isinstance(to, str) or not to.startswith("#/$defs/"):
            raise UnusableSchema("'$ref' may only lead to '#/$defs/...' of the same schema")
        if to in within:
            raise UnusableSchema(f"{cut(to, 80)!r} refers to itself")
        definitions = self._root.get("$defs")
        name = to.removeprefix("#/$defs/")
        if not isinstance(definitions, dict) or name not in definitions:
            raise UnusableSchema(f"{cut(to, 80)!r} is not there")
        self.walk(definitions[name], within=(*within, to))


@lru_cache(maxsize=512)
def pattern(text: str) -> Any:
    """The compiled pattern; raises UnusableSchema for what RE2 does not know (as look-ahead)."""
    if len(text) > MOST_PATTERN:
        raise UnusableSchema(f"a pattern has more than {MOST_PATTERN} characters")
    try:
        return re2.compile(text, _quiet())
    except (re2.error, UnicodeError) as error:
        raise UnusableSchema(f"the pattern {cut(text, 60)!r} is not supported: {error}") from None


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def _search(text: str, within: str) -> bool:
    return pattern(text).search(within) is not None


def _pattern(validator: Validator, wanted: str, instance: object, _: object) -> Errors:
    if validator.is_type(instance, "string") and not _search(wanted, str(instance)):
        yield ValidationError(f"{cut(repr(instance), 60)} does not match {wanted!r}")


def _pattern_properties(
    validator: Any, wanted: Mapping[str, Any], instance: object, _: object
) -> Errors:
    if not isinstance(instance, dict):
        return
    for text, schema in wanted.items():
        for name, value in instance.items():
            if _search(text, name):
                yield from validator.descend(value, schema, path=name, schema_path=text)


def _additional(validator: Any, wanted: Any, instance: object, schema: Mapping[str, Any]) -> Errors:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in known or any(_search(one, name) for one in patterns):
            continue
        if wanted is False:
            yield ValidationError(f"{cut(repr(name), 60)} is not a parameter", path=[name])
        else:
            yield from validator.descend(value, wanted, path=name)


_KEYWORDS: Final[Mapping[str, Callable[..., Errors]]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
}
_Bounded: Final = extend(Draft202012Validator, validators=_KEYWORDS)
