"""Read before anything is done with it: JSON from outside, which is to be kept as it was meant."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from executions_app import scrub

LARGEST_INTEGER: Final = 2**63 - 1
Pairs = Sequence[tuple[str, Any]]


def load(text: str, *, most_depth: int, objects: Callable[[Pairs], Any] | None = None) -> Any:
    """The value that `text` says; `objects` makes an object of its names and values.

    Raises ValueError, with words for the sender, for what is no JSON, is nested deeper than
    `most_depth` or would be refused later: NUL, half of a surrogate pair, NaN, numbers too large.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=objects)
        _check(value, left=most_depth)
    except RecursionError:
        raise _too_deep() from None
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _too_deep() -> ValueError:
    return ValueError("it is nested too deeply")


def _check(value: object, *, left: int) -> None:
    if left < 0:
        raise _too_deep()
    match value:
        case str():
            _check_text(value)
        case float() if not math.isfinite(value):
            raise ValueError("a number is out of range")
        case int() if abs(value) > LARGEST_INTEGER:
            raise ValueError("a whole number has more than 64 bits")
        case list():
            for item in value:
                _check(item, left=left - 1)
        case dict():
            for name, item in value.items():
                _check_text(name)
                _check(item, left=left - 1)
        case _:
            pass


def _check_text(text: str) -> None:
    if scrub.storable_text(text) != text:
        raise ValueError("a text holds NUL or half of a surrogate pair")
