"""Beside an execution's life: what a target of performance is, and when it is met.

A target measures quantities and holds checks; a check compares one number, drawn from the medians
of the runs, with a limit that must be kept or is aimed at. `targets` lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from benchmarks.profile import Profile
from benchmarks.quantities import Runs, medians, readable

if TYPE_CHECKING:
    from benchmarks.bench import Bench

OURS: Final = "Cadenza"
FAR: Final = 10.0  # times the limit: more digits would say nothing
Medians = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Check:
    """A promise in words, the number it is about, and the side of the limit that keeps it."""

    kind: Literal["must", "aim"]
    words: str
    number: Callable[[Medians], float | None]
    limit: float
    keeps: Literal["above", "below"]
    unit: str = ""

    def is_met_by(self, number: float) -> bool:
        return number >= self.limit if self.keeps == "above" else number <= self.limit


@dataclass(frozen=True, slots=True)
class Measured:
    """What a target found: quantities run by run, how, and what a reader should know."""

    runs: Runs
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    table: Sequence[Mapping[str, Any]] = ()
    profile: Profile | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table. `bars` are the quantities that the picture compares."""

    name: str
    title: str
    unit: str
    measure: Callable[[Bench], Measured]
    checks: Sequence[Check] = ()
    bars: Sequence[str] = ()
    better: Literal["higher", "lower"] = "lower"


@dataclass(frozen=True, slots=True)
class Judged:
    """A check and the number found for it; `number` is None where it could not be measured."""

    check: Check
    number: float | None

    @property
    def is_met(self) -> bool | None:
        return None if self.number is None else self.check.is_met_by(self.number)

    @property
    def by(self) -> float | None:
        """How far from the limit on the good side, as a part of it; negative when missed."""
        if self.number is None or not self.check.limit:
            return None
        part = self.number / self.check.limit
        return part - 1 if self.check.keeps == "above" else 1 - part

    def in_words(self) -> str:
        if self.number is None:
            return "not measured"
        found = f"{readable(self.number)}{self.check.unit}"
        verdict = "met" if self.is_met else "missed"
        return f"{found}, {verdict}{_by(self.by)}"


def _by(part: float | None) -> str:
    if part is None:
        return ""
    return " by far" if abs(part) >= FAR else f" by {abs(part):.0%}"


@dataclass(frozen=True, slots=True)
class Result:
    """A target that was measured, or (with `problem`) that could not be."""

    target: Target
    measured: Measured
    judged: Sequence[Judged]
    seconds: float = 0.0
    problem: str = ""

    @property
    def musts(self) -> list[Judged]:
        return [one for one in self.judged if one.check.kind == "must"]

    @property
    def is_met(self) -> bool | None:
        """Whether every must is met; None for a target that demands nothing."""
        if self.problem:
            return False
        return all(one.is_met for one in self.musts) if self.musts else None


def judge(target: Target, measured: Measured) -> list[Judged]:
    """Every check of the target with its number."""
    found = medians(measured.runs)
    return [Judged(check, check.number(found)) for check in target.checks]


def tally(results: Sequence[Result]) -> tuple[int, int]:
    """How many targets are met, of those that demand something."""
    verdicts = [one.is_met for one in results if one.is_met is not None]
    return sum(verdicts), len(verdicts)


def times(quantity: str, other: str) -> Callable[[Medians], float | None]:
    """How many times as much the first is, if both were measured."""
    return lambda found: (
        found[quantity] / found[other] if quantity in found and found.get(other) else None
    )


def value(quantity: str) -> Callable[[Medians], float | None]:
    """The quantity itself."""
    return lambda found: found.get(quantity)


def apart(quantity: str, other: str) -> Callable[[Medians], float | None]:
    """How many times as much the greater of two is, if both were measured."""

    def number(found: Medians) -> float | None:
        if not (found.get(quantity) and found.get(other)):
            return None
        low, high = sorted((found[quantity], found[other]))
        return high / low

    return number


def times_the_least(quantity: str, others: Sequence[str]) -> Callable[[Medians], float | None]:
    """The first as a part of the least of the others, if it and any other were measured."""

    def number(found: Medians) -> float | None:
        rivals = [found[other] for other in others if other in found]
        return found[quantity] / min(rivals) if quantity in found and rivals else None

    return number
