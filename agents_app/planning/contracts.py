"""What a model is asked for in a cycle, as the cycle keeps it: analysis, plan, advice. Pure.

`as_json` and `from_json` are each other's inverse and stable: the same value, the same text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, cast

from pydantic import AfterValidator, JsonValue, PlainSerializer, TypeAdapter

Strategy = Literal["sequential", "parallel", "dependency"]
Target = Literal["endpoint", "tool"]
Action = Literal["next_run_at", "interval", "pause", "keep"]
Complexity = Literal["low", "medium", "high"]
Json = dict[str, JsonValue]

MIDDLE_PRIORITY: Final = 50
MOST_PRIORITY: Final = 100


def _in_utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("an instant needs a zone")
    return instant.astimezone(UTC)


def written(instant: datetime) -> str:
    """An instant in ISO 8601 with Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


Instant = Annotated[
    datetime, AfterValidator(_in_utc), PlainSerializer(written, return_type=str, when_used="json")
]


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One call that a plan makes. `priority`: 0 to 100, the higher the earlier in its wave."""

    id: str
    target: Target
    name: str
    parameters: Json = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    priority: int = MIDDLE_PRIORITY
    critical: bool = False
    reason: str = ""

    def as_json(self) -> Json:
        return cast(Json, _STEP.dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, value: object) -> PlanStep:
        """Raises ValueError for what `as_json` would not say."""
        return _STEP.validate_python(value)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which endpoints and tools are called, in which order, and how many at once."""

    strategy: Strategy
    concurrency: int
    steps: tuple[PlanStep, ...]
    reason: str = ""
    confidence: float = 0.0

    def as_json(self) -> Json:
        return cast(Json, _PLAN.dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, value: object) -> Plan:
        """Raises ValueError for what `as_json` would not say."""
        return _PLAN.validate_python(value)


@dataclass(frozen=True, slots=True)
class Advice:
    """When to run next; only what belongs to `action` is set. A pause always has an end."""

    action: Action
    next_run_at: Instant | None = None
    interval_ms: int | None = None
    pause_until: Instant | None = None
    reason: str = ""
    confidence: float = 0.0
    recommended_actions: tuple[str, ...] = ()

    def as_json(self) -> Json:
        return cast(Json, _ADVICE.dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, value: object) -> Advice:
        """Raises ValueError for what `as_json` would not say."""
        return _ADVICE.validate_python(value)


@dataclass(frozen=True, slots=True)
class SubTask:
    """A part of what is to be done; `depends_on` names the parts that come before it."""

    id: str
    goal: str
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskAnalysis:
    """What a task needs: `needs` are capabilities of an agent, `required_tools` tools by name."""

    needs: tuple[str, ...] = ()
    complexity: Complexity = "medium"
    required_tools: tuple[str, ...] = ()
    sub_tasks: tuple[SubTask, ...] = ()
    reason: str = ""

    def as_json(self) -> Json:
        return cast(Json, _ANALYSIS.dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, value: object) -> TaskAnalysis:
        """Raises ValueError for what `as_json` would not say."""
        return _ANALYSIS.validate_python(value)


_STEP: Final = TypeAdapter(PlanStep)
_PLAN: Final = TypeAdapter(Plan)
_ADVICE: Final = TypeAdapter(Advice)
_ANALYSIS: Final = TypeAdapter(TaskAnalysis)
