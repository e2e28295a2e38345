"""What an execution's HTTP call brings back, as it is stored: bounded and without secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydantic import JsonValue, TypeAdapter
from urllib3 import HTTPHeaderDict

from executions_app.scrub import SCRUBBED, is_secret_name

MOST_HEADERS: Final = 50
MOST_HEADER_CHARACTERS: Final = 1024

JSON: Final[TypeAdapter[JsonValue]] = TypeAdapter(JsonValue)
_CHARSET: Final = re.compile(r"charset=[\"']?([\w.:-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back. `body` is JSON where the peer says so and it is, else text, else null."""

    status: int
    headers: dict[str, str]
    body: JsonValue
    truncated: bool
    elapsed_ms: int
    was_redirected: bool = False  # another address than the one that was called gave it

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "status": self.status,
            "headers": {**self.headers},
            "body": self.body,
            "truncated": self.truncated,
            "elapsed_ms": self.elapsed_ms,
        }


# Endpoints answer with the same few names.
_is_secret: Final = lru_cache(maxsize=512)(is_secret_name)


def shown_headers(headers: HTTPHeaderDict) -> dict[str, str]:
    return {
        name.lower(): SCRUBBED if _is_secret(name) else value[:MOST_HEADER_CHARACTERS]
        for name, value in list(headers.items())[:MOST_HEADERS]
    }


def understood(body: bytes, headers: HTTPHeaderDict, *, is_truncated: bool) -> JsonValue:
    if not body:
        return None
    content_type = headers.get("content-type", "")
    if "json" in content_type.lower() and not is_truncated:
        try:
            return JSON.validate_json(body)
        except ValueError:
            pass  # or nested beyond what pydantic takes: kept as text
    charset = _CHARSET.search(content_type)
    try:
        return body.decode(charset[1] if charset else "utf-8", errors="replace")
    except LookupError:
        return body.decode(errors="replace")
