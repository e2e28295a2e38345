"""Reads a request's JSON before anything is done with it: bounded, storable, in our names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, Final

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from executions_app import strict_json
from executions_app.api import names
from executions_app.api.problem import Problem

MOST_BYTES: Final = 1024 * 1024
MOST_DEPTH: Final = 64


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
            value = strict_json.load(body.decode("utf-8-sig"), most_depth=MOST_DEPTH)
        except ValueError as error:
            raise ParseError(f"The body is no JSON that can be kept: {error}") from None
        if not isinstance(value, dict):
            raise ParseError("The body is not a JSON object; send one such as {}")
        try:
            return names.snake_keys(value)
        except names.NamedTwice as error:
            raise ParseError(str(error)) from None
