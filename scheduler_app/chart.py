"""The small chart of the Overview: what became of the executions of each minute. Pure geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MINUTES: Final = 60
BAR_WIDTH: Final = 10
BAR_GAP: Final = 2
HEIGHT: Final = 64
LEAST_VISIBLE: Final = 2.0
"""Units of height that a single failure among thousands still gets."""


@dataclass(frozen=True, slots=True)
class Minute:
    """Executions created in one minute, by what became of them; `ago` counts back from 0."""

    ago: int
    completed: int = 0
    failed: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return self.completed + self.failed + self.other


@dataclass(frozen=True, slots=True)
class Part:
    """One rectangle of a bar, in the units of the view box; `kind` is its CSS class."""

    kind: str
    x: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One minute with its rectangles, from the bottom up."""

    minute: Minute
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Sixty bars, oldest first, on one scale; `most` is the busiest minute's number."""

    bars: tuple[Bar, ...]
    most: int
    width: int = MINUTES * BAR_WIDTH
    height: int = HEIGHT
    bar_width: int = BAR_WIDTH - BAR_GAP


def draw(minutes: Mapping[int, Minute]) -> Chart:
    """The chart of minutes by `ago`; minutes that are missing had no executions."""
    most = max((one.total for one in minutes.values()), default=0)
    shown = [minutes.get(ago, Minute(ago)) for ago in reversed(range(MINUTES))]
    return Chart(tuple(_bar(one, place, most) for place, one in enumerate(shown)), most)


def _bar(minute: Minute, place: int, most: int) -> Bar:
    parts: list[Part] = []
    top = float(HEIGHT)
    for kind in ("completed", "other", "failed"):
        number = getattr(minute, kind)
        if number:
            height = max(LEAST_VISIBLE, round(HEIGHT * number / most, 1))
            top = max(0.0, round(top - height, 1))
            parts.append(Part(kind, place * BAR_WIDTH, top, height))
    return Bar(minute, tuple(parts))
