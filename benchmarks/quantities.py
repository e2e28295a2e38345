"""Beside an execution's life: the arithmetic of measurements - percentiles, medians, spreads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles

Runs = Mapping[str, Sequence[float]]
"""What was measured, by name: one number per run."""


def percentile(numbers: Sequence[float], percent: int) -> float:
    """The value that `percent` of 100 are not above; raises ValueError without any."""
    if not numbers:
        raise ValueError("nothing was measured")
    if len(numbers) == 1:
        return numbers[0]
    return quantiles(numbers, n=100, method="inclusive")[percent - 1]


def medians(runs: Runs) -> dict[str, float]:
    """One number for each quantity; what was never measured is left out."""
    return {name: median(values) for name, values in runs.items() if values}


def spread(values: Sequence[float]) -> float:
    """From the lowest to the highest, as a part of the median; 0 for a single run."""
    middle = median(values)
    return (max(values) - min(values)) / abs(middle) if middle else 0.0


def gathered(runs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Run after run turned into quantity after quantity."""
    names = dict.fromkeys(name for one in runs for name in one)
    return {name: [one[name] for one in runs if name in one] for name in names}


def readable(number: float) -> str:
    """A number with as many digits as are worth reading."""
    if abs(number) >= 1_000:
        return f"{number:,.0f}"
    if abs(number) >= 100:
        return f"{number:.0f}"
    return f"{number:.3g}"
