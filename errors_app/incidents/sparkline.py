"""A trend as a small picture: how many executions of an incident failed in each hour. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BAR_WIDTH: Final = 4
BAR_GAP: Final = 1
HEIGHT: Final = 24
LEAST_VISIBLE: Final = 2.0
"""Units of height that a single error among thousands still gets."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour as a rectangle in the units of the view box; `ago` counts back from 0."""

    ago: int
    number: int
    x: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Sparkline:
    """The hours with errors, on one scale; `most` is the number of the worst hour."""

    bars: tuple[Bar, ...]
    most: int
    width: int
    height: int = HEIGHT
    bar_width: int = BAR_WIDTH - BAR_GAP


def draw(hours: Sequence[int]) -> Sparkline:
    """The picture of errors per hour, the oldest first."""
    most = max(hours, default=0)
    bars = tuple(
        _bar(number, place, len(hours), most) for place, number in enumerate(hours) if number
    )
    return Sparkline(bars, most, len(hours) * BAR_WIDTH)


def _bar(number: int, place: int, hours: int, most: int) -> Bar:
    height = max(LEAST_VISIBLE, round(HEIGHT * number / most, 1))
    return Bar(hours - 1 - place, number, place * BAR_WIDTH, round(HEIGHT - height, 1), height)
