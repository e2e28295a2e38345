"""What is new in a plan beside an earlier one: which calls, and which parameters. Pure.

A call is known again by what it calls; of several calls of one thing the first are taken for each
other, in their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Change = Literal["same", "changed", "new"]
Steps = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Compared:
    """What became of one step; `before`: the parameters that an earlier plan had in its place."""

    change: Change
    before: Mapping[str, Any] = field(default_factory=dict)


def compared(steps: Steps, earlier: Steps) -> tuple[list[Compared], list[str]]:
    """For each step what is new about it, and the names of what is not called any more."""
    left: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for one in earlier:
        left[_called(one)].append(one)
    found = [_beside(one, left[_called(one)]) for one in steps]
    return found, [name for (_, name), others in left.items() for _ in others]


def _beside(step: Mapping[str, Any], others: list[Mapping[str, Any]]) -> Compared:
    if not others:
        return Compared("new")
    before = others.pop(0).get("parameters") or {}
    is_same = before == (step.get("parameters") or {})
    return Compared("same") if is_same else Compared("changed", before)


def _called(step: Mapping[str, Any]) -> tuple[str, str]:
    return str(step.get("target", "")), str(step.get("name", ""))
