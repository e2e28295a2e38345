"""What can be read out of a model's JSON: all that is wrong with it, and what is left of it. Pure.

The reading is strict; what salvage may use is made beside it: unknown words become defaults, what
nobody asked for is left out, a part without which nothing is known goes away with what holds it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agents_app.planning.contracts import MIDDLE_PRIORITY
from agents_app.planning.problems import MOST_PROBLEMS, MalformedClass, Problem, at, cut
from agents_app.planning.schemas import Answer

A = TypeVar("A", bound=Answer)
Path = tuple[str | int, ...]

# In place of a value of a wrong kind, or of an unknown word. What is not here has no harmless one.
DEFAULTS: Final[Mapping[str, Any]] = {
    "strategy": "sequential",
    "target": "endpoint",
    "action": "keep",
    "complexity": "medium",
    "concurrency": 1,
    "priority": MIDDLE_PRIORITY,
    "critical": False,
    "confidence": 0.0,
    "reason": "",
    "next_run_at": None,
    "interval_ms": None,
    "pause_until": None,
    "recommended_actions": [],
    "needs": [],
    "required_tools": [],
    "sub_tasks": [],
}
# Where nothing stands at all; a list of the wrong kind may hold dependencies that must not be lost.
WHEN_MISSING: Final[Mapping[str, Any]] = {"depends_on": [], "parameters_json": "{}"}
# Without these words nobody knows what was meant.
NEVER_GUESSED_WHEN_MISSING: Final = frozenset({"action", "target"})
MOST_ROUNDS: Final = 4
_LEFT_OUT: Final = object()


@dataclass(frozen=True, slots=True)
class Reading(Generic[A]):
    """`answer`: as it stands if there are no problems, else what could be kept of it, if any.

    `places`: for each list of objects the positions, in what the model said, of what was kept.
    `said_ids`: the ids of everything it said, kept or not.
    """

    answer: A | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    places: tuple[int, ...]
    said_ids: frozenset[str]


def read(raw: dict[str, Any], *, as_a: type[A], parts: str = "") -> Reading[A]:
    """`raw` as a DTO; `parts` names its list of objects with ids, if it has one."""
    try:
        answer = as_a.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
    else:
        count = len(raw[parts]) if parts else 0
        return Reading(answer, (), (), tuple(range(count)), _ids(raw, parts))
    problems = tuple(_problem(one) for one in details[:MOST_PROBLEMS])
    kept, notes, places = _mended(raw, details, as_a=as_a, parts=parts)
    return Reading(kept, problems, notes, places, _ids(raw, parts))


def _problem(error: ErrorDetails) -> Problem:
    is_unknown_word = error["type"] == "literal_error" and isinstance(error["input"], str)
    return Problem(
        at(error["loc"]),
        cut(_words(error)),
        MalformedClass.INVALID_ENUM_VALUE if is_unknown_word else MalformedClass.SCHEMA_PARSE_ERROR,
    )


def _words(error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not asked for"
        case "literal_error":
            return f"{error['msg'].removeprefix('Input ')}, not {cut(repr(error['input']), 60)}"
        case "string_pattern_mismatch":
            return "must be 1 to 64 characters that can be printed"
    return error["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _ids(raw: Mapping[str, Any], parts: str) -> frozenset[str]:
    items = raw.get(parts)
    if not isinstance(items, list):
        return frozenset()
    named = [one["id"] for one in items if isinstance(one, dict) and "id" in one]
    return frozenset(one for one in named if isinstance(one, str))


def _mended(
    raw: dict[str, Any], details: Sequence[ErrorDetails], *, as_a: type[A], parts: str
) -> tuple[A | None, tuple[str, ...], tuple[int, ...]]:
    mending = _Mending(copy.deepcopy(raw))
    for _ in range(MOST_ROUNDS):
        for error in details:
            if not mending.mend(error):
                return None, (), ()
        places = mending.without_what_is_left_out(parts)
        try:
            return as_a.model_validate(mending.value), tuple(mending.notes), places
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
    return None, (), ()


class _Mending:
    """A copy of the answer in which each error is replaced by something harmless."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value
        self.notes: list[str] = []
        self._places: list[int] | None = None

    def mend(self, error: ErrorDetails) -> bool:
        """False if nothing can be kept."""
        path = error["loc"]
        holder, name = self._holder(path), path[-1] if path else ""
        if holder is None:
            return True  # it stood in something that is left out already
        if (
            isinstance(holder, dict)
            and isinstance(name, str)
            and self._replace(holder, name, error, path)
        ):
            return True
        return self._leave_out(path)

    def _replace(self, holder: dict[str, Any], name: str, error: ErrorDetails, path: Path) -> bool:
        if error["type"] == "extra_forbidden":
            holder.pop(name, None)
            self._note(path, "was left out: nobody asked for it")
            return True
        defaults: Mapping[str, Any] = DEFAULTS
        if error["type"] == "missing":
            defaults = {**DEFAULTS, **WHEN_MISSING}
            if name in NEVER_GUESSED_WHEN_MISSING:
                return False
        if name not in defaults:
            return False
        holder[name] = copy.copy(defaults[name])
        self._note(path, f"became {defaults[name]!r}")
        return True

    def _leave_out(self, path: Path) -> bool:
        """Leaves out the innermost item of a list that `path` leads through.

        But never a dependency alone: what is to wait for it would begin too early.
        """
        for end in range(len(path) - 1, -1, -1):
            holder = self._holder(path[: end + 1])
            place = path[end]
            is_dependency = end > 0 and path[end - 1] == "depends_on"
            if isinstance(holder, list) and isinstance(place, int) and not is_dependency:
                if holder[place] is not _LEFT_OUT:
                    holder[place] = _LEFT_OUT
                    self._note(path[: end + 1], "was left out: it cannot be read")
                return True
        return False

    def _holder(self, path: Path) -> Any:
        """What holds the value at `path`; None if it is gone."""
        value: Any = self.value
        for part in path[:-1]:
            is_there = isinstance(value, list | dict) and (
                part in value if isinstance(value, dict) else isinstance(part, int)
            )
            if not is_there:
                return None
            value = value[part]
        return value if isinstance(value, list | dict) else None

    def without_what_is_left_out(self, parts: str) -> tuple[int, ...]:
        """Removes it; the positions, in the answer, of the items of `parts` that stay."""
        items = self.value.get(parts)
        if isinstance(items, list):
            places = self._places if self._places is not None else list(range(len(items)))
            pairs = zip(places, items, strict=True)
            self._places = [place for place, item in pairs if item is not _LEFT_OUT]
        self.value = _compacted(self.value)
        return tuple(self._places or ())

    def _note(self, path: Path, words: str) -> None:
        if len(self.notes) < MOST_PROBLEMS:
            self.notes.append(f"{at(path)} {words}")


def _compacted(value: Any) -> Any:
    match value:
        case dict():
            return {name: _compacted(one) for name, one in value.items()}
        case list():
            return [_compacted(one) for one in value if one is not _LEFT_OUT]
    return value
