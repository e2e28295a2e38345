"""Which events start an execution: closed comparisons on dotted paths, pure.

A filter is `{"data.amount": {"gte": 100}, "data.items.0.sku": {"eq": "A-1"}}`: every comparison of
every path has to hold. There are no expressions and no regular expressions in it, so that whoever
sends an event cannot make its filter slow. A path that leads nowhere fulfils nothing but
`{"exists": false}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, model_validator

MOST_PATHS: Final = 50
MOST_CHOICES: Final = 100
Path = Annotated[str, Field(max_length=300, pattern=r"^[^.\x00]{1,100}(\.[^.\x00]{1,100}){0,15}$")]
Ordered = int | Annotated[float, Field(allow_inf_nan=False)] | str
_NOTHING: Final = object()


class Condition(BaseModel):
    """The comparisons of one value; texts compare with texts and numbers with numbers only.

    `matches` is a text in which `*` stands for any characters, none included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    eq: JsonValue = None
    ne: JsonValue = None
    in_: list[JsonValue] = Field([], alias="in", min_length=1, max_length=MOST_CHOICES)
    gt: Ordered = 0
    gte: Ordered = 0
    lt: Ordered = 0
    lte: Ordered = 0
    exists: StrictBool = True
    matches: str = Field("", max_length=200)

    @model_validator(mode="after")
    def _compares_something(self) -> Condition:
        if not self.model_fields_set:
            raise ValueError("name a comparison, such as {'eq': 1}")
        return self

    def holds(self, value: object) -> bool:
        """True if every comparison that was named holds for what stands at the path."""
        if value is _NOTHING:
            return self.model_fields_set == {"exists"} and not self.exists
        return all(self._holds(name, value) for name in self.model_fields_set)

    def _holds(self, name: str, value: object) -> bool:
        match name:
            case "eq":
                return _same(value, self.eq)
            case "ne":
                return not _same(value, self.ne)
            case "in_":
                return any(_same(value, one) for one in self.in_)
            case "exists":
                return self.exists
            case "matches":
                return isinstance(value, str) and _fits(value, self.matches)
        return _is_ordered(name, value, getattr(self, name))


Filter = Annotated[dict[Path, Condition], Field(max_length=MOST_PATHS)]


def matches(conditions: Mapping[str, Condition], event: Mapping[str, Any]) -> bool:
    """True if the event fulfils every condition; an empty filter admits every event."""
    return all(one.holds(_at(event, path)) for path, one in conditions.items())


def _at(event: Mapping[str, Any], path: str) -> object:
    """What stands at the path; a number in it is a place in a list."""
    found: object = event
    for name in path.split("."):
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isascii() and name.isdigit() and len(name) < 7:
            place = int(name)
            found = found[place] if place < len(found) else _NOTHING
        else:
            return _NOTHING
    return found


def _same(left: object, right: object) -> bool:
    """Equality as JSON means it: true is not 1, while 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    return left == right


def _is_ordered(name: str, value: object, bound: Ordered) -> bool:
    if isinstance(value, bool) or isinstance(bound, str) != isinstance(value, str):
        return False
    if not isinstance(value, int | float | str):
        return False
    return {
        "gt": value > bound,  # type: ignore[operator]  # both are texts or both are numbers
        "gte": value >= bound,  # type: ignore[operator]
        "lt": value < bound,  # type: ignore[operator]
        "lte": value <= bound,  # type: ignore[operator]
    }[name]


def _fits(text: str, pattern: str) -> bool:
    """True if the text is the pattern, with any characters where it has a `*`; never goes back."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    if not text.startswith(first) or not text.endswith(last):
        return False
    place, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, place, max(place, end))
        if found < 0:
            return False
        place = found + len(part)
    return place <= end
