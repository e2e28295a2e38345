"""What leaves this house about a failed execution: the stack and its names, nothing it was given.

Credentials are recognised as the ledger does. The values of a task's config and parameters are
known, and are taken out wherever they stand; so are headers, bodies and queries of requests.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from executions_app.scrub import SCRUBBED, is_secret_name, scrub

SHORTEST: Final = 4  # characters; shorter values would blacken every other word
MOST_VALUES: Final = 2_000
EVERYTHING: Final = ""  # among the values given: there are too many to look for each
KEPT_OF_A_REQUEST: Final = ("method", "url")
LEFT_OUT: Final = frozenset({"user", "breadcrumbs", "extra", "modules"})
MESSAGES: Final = frozenset({"exception", "logentry", "message"})
CODE: Final = frozenset({"stacktrace", "type", "module", "mechanism"})
_WORD: Final = re.compile(r"[\w.+-]{6,}")
# Messages of pydantic repeat what they refuse, cut in the middle.
_REFUSED: Final = re.compile(r"input_value=.*?(?=, input_type=|\]|\Z)", re.DOTALL)


def values(given: object) -> frozenset[str]:
    """The texts and numbers in what an execution was given, and the longer words in them.

    Where that is more than can be looked for, EVERYTHING is among them.
    """
    found: set[str] = set()
    for part in _parts(given):
        if len(found) >= MOST_VALUES:
            return frozenset({*found, EVERYTHING})
        if len(part) >= SHORTEST:
            found.add(part)
    return frozenset(found)


def _parts(given: object) -> Iterator[str]:
    for one in _scalars(given):
        yield one
        for piece in re.finditer(r"\S+", one):
            yield piece[0]
        for word in _WORD.finditer(one):
            yield word[0]


def _scalars(given: object) -> Iterator[str]:
    match given:
        case Mapping():
            for one in given.values():
                yield from _scalars(one)
        case list() | tuple():
            for one in given:
                yield from _scalars(one)
        case str():
            yield given
        case int() | float() if not isinstance(given, bool):
            yield str(given)


def left_out(event: Mapping[str, Any], *, given: Collection[str]) -> dict[str, Any]:
    """The event without secrets, and its messages without the values that were `given`."""
    longest_first = sorted(given, key=len, reverse=True)
    kept = {
        name: _cleaned(value, longest_first if name in MESSAGES else ())
        for name, value in event.items()
        if name not in LEFT_OUT
    }
    request = kept.get("request", {})
    about_it = {name: request[name] for name in KEPT_OF_A_REQUEST if name in request}
    return {**kept, "request": about_it} if request else kept


def _cleaned(value: Any, given: Sequence[str]) -> Any:
    match value:
        case Mapping():
            return {
                name: SCRUBBED
                if is_secret_name(name)
                else _cleaned(one, () if name in CODE else given)
                for name, one in value.items()
            }
        case list() | tuple():
            return [_cleaned(one, given) for one in value]
        case str():
            return scrub(_REFUSED.sub(f"input_value={SCRUBBED}", _without(value, given)))
    return value


def _without(text: str, given: Sequence[str]) -> str:
    if EVERYTHING in given:
        return SCRUBBED
    for one in given:
        if one in text:
            text = text.replace(one, SCRUBBED)
    # What PostgreSQL adds to its message repeats the row that it refused.
    return re.split(r"\n(?:DETAIL|CONTEXT):", text, maxsplit=1)[0]
