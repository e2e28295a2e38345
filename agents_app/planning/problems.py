"""What is wrong with a model's answer, by the layer that says so. Pure.

The layers come one after the other: is there an answer, is it JSON of the agreed shape, are its
words known, does it hold together, may it be done. The class of an answer is that of the first
layer that refuses it; nothing is ever read out of an error's text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_MESSAGE: Final = 300
MOST_PROBLEMS: Final = 200


class MalformedClass(StrEnum):
    """Why an answer was refused; in the order of the layers."""

    EMPTY_RESPONSE = "empty_response"
    SCHEMA_PARSE_ERROR = "schema_parse_error"
    INVALID_ENUM_VALUE = "invalid_enum_value"
    STRUCTURAL_INCONSISTENCY = "structural_inconsistency"
    SEMANTIC_VIOLATION = "semantic_violation"
    REPAIR_FAILED = "repair_failed"


_ORDER: Final = tuple(MalformedClass)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `path`: where in the answer, as `steps[2].depends_on[0]`."""

    path: str
    message: str
    malformed_class: MalformedClass

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def as_json(self) -> dict[str, str]:
        return {"path": self.path, "message": self.message, "class": self.malformed_class.value}


def class_of(problems: Sequence[Problem]) -> MalformedClass:
    """The class of an answer with these problems (at least one): of the first layer that spoke."""
    return min((one.malformed_class for one in problems), key=_ORDER.index)


def bounded(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems in the order of their layers, at most MOST_PROBLEMS of them."""
    ordered = sorted(problems, key=lambda one: _ORDER.index(one.malformed_class))
    return tuple(ordered[:MOST_PROBLEMS])


def cut(text: str, most: int = MOST_MESSAGE) -> str:
    """The beginning of `text`, with a sign that something is left out."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def at(path: Sequence[str | int]) -> str:
    """`("steps", 2, "name")` as `steps[2].name`."""
    said = ""
    for part in path:
        said += f"[{part}]" if isinstance(part, int) else f".{part}" if said else str(part)
    return cut(said)
