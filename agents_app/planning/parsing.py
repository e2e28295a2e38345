"""The first look at a model's answer: the one JSON object in it, or why there is none. Pure.

Models wrap JSON in prose, in code fences and in what they thought aloud. What stands around one
object is left out; an answer that was cut off is refused, and so is a choice between two objects:
nobody guesses what the model meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from agents_app.planning.problems import MalformedClass, Problem, cut
from executions_app import strict_json

MOST_CHARACTERS: Final = 200_000
MOST_DEPTH: Final = 32
CUT_OFF: Final = "length"  # the finish_reason of an answer that reached its limit of tokens

MOST_CANDIDATES: Final = 8

_BLANK: Final = " \t\r\n`\ufeff\u200b\x00"
_THOUGHT: Final = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_FENCE: Final = re.compile(r"```[\w-]{0,20}")
_BRACE_OR_TEXT: Final = re.compile(r'[{}]|"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_LIKE_JSON: Final = re.compile(r'\{\s*["}]')
_LIKE_LIST: Final = re.compile(r"\[\s*[{\[\"]")


def parse(text: str, *, finish_reason: str = "") -> dict[str, Any] | Problem:
    """The JSON object that an answer consists of. Never raises."""
    if len(text) > MOST_CHARACTERS:
        return _refused(f"the answer has more than {MOST_CHARACTERS} characters; answer shortly")
    said = _THOUGHT.sub("", text.lstrip("\ufeff"), count=1)
    bare = _FENCE.sub("", said).strip(_BLANK)
    if not bare:
        return Problem("", "the answer is empty", MalformedClass.EMPTY_RESPONSE)
    if _LIKE_LIST.match(bare):
        return _refused("the answer is a list; one JSON object is expected")
    found = [_read(candidate) for candidate in islice(_candidates(said), MOST_CANDIDATES)]
    objects = [one for one in found if isinstance(one, dict)]
    if len(objects) == 1 == len(found):
        return objects[0]
    if len(objects) > 1:
        return _refused(f"the answer holds {len(objects)} JSON objects; exactly one is expected")
    refusals = [one for one in found if isinstance(one, Problem)]
    return _with_reason(refusals[0] if refusals else _none_of(said), finish_reason)


def embedded(text: str) -> dict[str, Any]:
    """The object that a text field says in JSON; nothing for a blank one. Raises ValueError."""
    if not text.strip():
        return {}
    value = strict_json.load(text, most_depth=MOST_DEPTH, objects=_object)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  the text is wrong, not its type
    return value


def _candidates(text: str) -> Iterator[str | None]:
    """What begins like a JSON object and is not inside another; None: it has no end.

    Quotation marks in prose mean nothing, so texts are told apart within objects only.
    """
    position = 0
    while opening := _LIKE_JSON.search(text, position):
        end = _end_of(text, opening.start())
        if end is None:
            yield None
            return
        yield text[opening.start() : end]
        position = end


def _end_of(text: str, begin: int) -> int | None:
    depth = 0
    for token in _BRACE_OR_TEXT.finditer(text, begin):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None


def _read(candidate: str | None) -> dict[str, Any] | Problem:
    if candidate is None:
        return _refused("the JSON object is not complete: it has no end")
    try:
        value = strict_json.load(candidate, most_depth=MOST_DEPTH, objects=_object)
    except ValueError as error:
        return _refused(f"this is no valid JSON: {error}")
    return value if isinstance(value, dict) else _refused("this is no JSON object")


def _object(pairs: strict_json.Pairs) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the name {cut(twice, 60)!r} stands twice in one object")
    return value


def _none_of(text: str) -> Problem:
    return _refused(f"there is no JSON object in it; it begins {cut(text.strip(), 60)!r}")


def _with_reason(problem: Problem, finish_reason: str) -> Problem:
    if finish_reason != CUT_OFF:
        return problem
    return _refused("the answer was cut off at its limit of tokens; give a shorter one")


def _refused(message: str) -> Problem:
    return Problem("", cut(message), MalformedClass.SCHEMA_PARSE_ERROR)
