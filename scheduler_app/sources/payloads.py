"""What a webhook brings, read with suspicion: the JSON object that its execution will be given.

The body is signed, so its sender is known; but a sender may be as broken as anybody, and passes on
what strangers have written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from executions_app import scrub
from executions_app.states import SchedulerException

MOST_BYTES: Final = 256 * 1024
MOST_DEPTH: Final = 32
LARGEST_INTEGER: Final = 2**63 - 1
ROOM: Final = 2 * MOST_BYTES  # what was read is kept whole, however it is written down


class UnusablePayload(SchedulerException):
    """The body is no JSON object that can be kept."""


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object (RFC 8259) of a body; raises UnusablePayload.

    A name that comes twice is refused, since the one who signed may have meant the other value.
    """
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_object
        )
        _check(value, depth=1)
    except RecursionError:
        raise UnusablePayload(f"it is nested more than {MOST_DEPTH} levels deep") from None
    except ValueError as error:
        raise UnusablePayload(f"The body is no JSON that can be kept: {error}") from None
    if not isinstance(value, dict):
        raise UnusablePayload("The body is not a JSON object; send one such as {}")
    return value


def kept(event: Mapping[str, Any]) -> Any:
    """The event as an execution's parameters keep it: without what looks like a secret."""
    return scrub.storable_without_secrets(event, max_bytes=ROOM)[0]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has the same name twice")
    return made


def _check(value: object, *, depth: int) -> None:
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
            for name, item in value.items():
                _check_text(name)
                _check(item, depth=depth + 1)
        case _:
            pass


def _check_text(text: str) -> None:
    if scrub.storable_text(text) != text:
        raise ValueError("a text holds NUL or half of a surrogate pair")
