"""Reads a request's JSON before anything is done with it: bounded, storable, in our names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, Final

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from executions_app.api import names
from executions_app.api.problem import Problem

MOST_BYTES: Final = 1024 * 1024
MOST_DEPTH: Final = 64
LARGEST_INTEGER: Final = 2**63 - 1


class SnakeCaseJSONParser(BaseParser):
    """A JSON object of at most 1 MiB; its field names may be camelCase."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,  # noqa: ARG002  DRF's signature
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        body = stream.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise Problem(413, "too_large", f"The body is longer than {MOST_BYTES} bytes")
        if not body:
            return {}
        try:
            value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
            _check(value, depth=0)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is no JSON that can be kept: {error}") from None
        if not isinstance(value, dict):
            raise ParseError("The body is not a JSON object; send one such as {}")
        try:
            return names.snake_keys(value)
        except names.NamedTwice as error:
            raise ParseError(str(error)) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(value: object, *, depth: int) -> None:
    """Raise ValueError for what PostgreSQL would refuse later, or nobody means."""
    if depth > MOST_DEPTH:
        raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")
    match value:
        case str():
            _check_text(value)
        case float() if not math.isfinite(value):
            raise ValueError("a number is out of range")
        case int() if abs(value) > LARGEST_INTEGER:
            raise ValueError("a whole number has more than 64 bits")
        case list():
            for item in value:
                _check(item, depth=depth + 1)
        case dict():
            for key, item in value.items():
                _check_text(key)
                _check(item, depth=depth + 1)
        case _:
            pass


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise ValueError("a text holds the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair") from None
