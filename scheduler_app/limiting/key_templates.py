"""From the words of a schedule to the key of one execution: `tenant:{tenant}` -> `tenant:acme`.

Pure. A name in braces is looked up in the execution's parameters, then in the task's config; dots
lead into objects and lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from executions_app.states import SchedulerException

PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
UNKNOWN: Final = "?"  # stands for what a fire by time has no value for
LONGEST: Final = 200
KEPT: Final = 160  # of a longer key; a digest of the whole follows


class MissingValue(SchedulerException):
    """The template names what neither the parameters nor the task's config have."""


def render(template: str, *parameters: Mapping[str, Any]) -> str:
    """The key, from the first of `parameters` that has each value; raises MissingValue.

    A value is a text, a number or a boolean. A key is at most 200 characters: of a longer one the
    beginning is kept, and a digest, so that different keys stay different.
    """
    return _bounded(PLACEHOLDER.sub(lambda found: _value(found[1], parameters), template))


def render_known(template: str, *parameters: Mapping[str, Any]) -> str:
    """As `render`, with `?` for every value there is none of: a limit holds even then."""

    def value(found: re.Match[str]) -> str:
        try:
            return _value(found[1], parameters)
        except MissingValue:
            return UNKNOWN

    return _bounded(PLACEHOLDER.sub(value, template))


def _value(path: str, parameters: tuple[Mapping[str, Any], ...]) -> str:
    for words in parameters:
        found = _found(path, words)
        if isinstance(found, bool):
            return "true" if found else "false"
        if isinstance(found, str | int | float):
            return _printable(str(found))
    raise MissingValue(
        f"{{{path}}} has no value: give {path!r} in the parameters, as a text, number or boolean",
        path=path,
    )


def _found(path: str, words: Mapping[str, Any]) -> Any:
    found: Any = words
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else UNKNOWN for char in text)


def _bounded(key: str) -> str:
    if len(key) <= LONGEST:
        return key
    return f"{key[:KEPT]}#{sha256(key.encode()).hexdigest()[:32]}"
