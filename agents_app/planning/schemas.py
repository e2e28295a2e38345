"""The shape in which a model answers: flat, closed, every field required. Pure.

A strict `response_format` takes no open objects and no choices between shapes, so the parameters
of a step travel as JSON text, and a field that does not apply is null. Limits are not in the
schema, since not every server knows their keywords: `validation` holds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from agents_app.planning.contracts import (
    Action,
    Complexity,
    Instant,
    Json,
    Strategy,
    Target,
)
from agents_app.planning.parsing import embedded
from agents_app.planning.problems import cut

MOST_REASON: Final = 2_000
MOST_ITEMS: Final = 20
# What a strict schema may list, by OpenAI's limits; beyond, names are only checked afterwards.
MOST_NAMES: Final = 200
MOST_NAME_CHARACTERS: Final = 10_000


def _whole(value: object) -> object:
    """1.0 is a whole number in JSON Schema, and some models write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _parameters(value: object) -> object:
    """Text that says an object, or the object itself, as models without a schema write it."""
    return embedded(value) if isinstance(value, str) else value


def _instant(value: object) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        instant = datetime.fromisoformat(value if isinstance(value, str) else "")
        in_utc = instant.astimezone(UTC) if instant.tzinfo else None
    except (ValueError, OverflowError):
        in_utc = None
    if in_utc is None:
        raise ValueError("must be an instant with its zone, as 2026-01-31T08:00:00Z")
    return in_utc


def _shortened(text: str) -> str:
    return cut(text, MOST_REASON)


def _each_once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


Id = Annotated[str, Field(strict=True, pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=200)]
Ids = Annotated[list[Annotated[str, Field(strict=True)]], AfterValidator(_each_once)]
Names = Annotated[list[Name], AfterValidator(_each_once)]
Reason = Annotated[str, Field(strict=True), AfterValidator(_shortened)]
Whole = Annotated[int, Field(strict=True), BeforeValidator(_whole)]
Fraction = Annotated[float, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Moment = Annotated[Instant | None, BeforeValidator(_instant)]


class Answer(BaseModel):
    """What every answer has in common: nothing in it that nobody asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StepAnswer(Answer):
    id: Id
    target: Target
    name: Name
    parameters_json: Annotated[Json, BeforeValidator(_parameters)]
    depends_on: Ids
    priority: Whole
    critical: Flag
    reason: Reason


class PlanAnswer(Answer):
    strategy: Strategy
    concurrency: Whole
    steps: list[StepAnswer]
    reason: Reason
    confidence: Fraction


class AdviceAnswer(Answer):
    action: Action
    next_run_at: Moment
    interval_ms: Whole | None
    pause_until: Moment
    reason: Reason
    confidence: Fraction
    recommended_actions: Annotated[list[Reason], Field(max_length=MOST_ITEMS)]


class SubTaskAnswer(Answer):
    id: Id
    goal: Reason
    depends_on: Ids


class AnalysisAnswer(Answer):
    needs: Annotated[Names, Field(max_length=MOST_ITEMS)]
    complexity: Complexity
    required_tools: Annotated[Names, Field(max_length=MOST_ITEMS)]
    sub_tasks: list[SubTaskAnswer]
    reason: Reason


def plan_schema(names: Sequence[str] = ()) -> Json:
    """Of a plan that may call endpoints and tools of these names."""
    step = _closed(
        id=_text("a short name of this step, unlike that of any other"),
        target=_one_of(Target, "what kind of thing is called"),
        name=_name(names, "of the endpoint or tool, exactly as it was given"),
        parameters_json=_text("the parameters, a JSON object as text; {} for none"),
        depends_on=_list(_text("id of a step that must have succeeded before")),
        priority=_typed("integer", "0 to 100; among steps that may start, the higher goes first"),
        critical=_typed("boolean", "whether the plan is worth nothing once this step has failed"),
        reason=_text("why this step"),
    )
    return _closed(
        strategy=_one_of(
            Strategy, "one after the other, all at once, or each when what it depends on is done"
        ),
        concurrency=_typed("integer", "how many steps may run at once, at least 1"),
        steps=_list(step),
        reason=_text("why this plan"),
        confidence=_typed("number", "0 to 1"),
    )


def advice_schema() -> Json:
    return _closed(
        action=_one_of(
            Action, "run next at an instant, at an interval, pause until an instant, or keep"
        ),
        next_run_at=_or_null("string", "with next_run_at: ISO 8601 with zone, in the future"),
        interval_ms=_or_null("integer", "with interval: milliseconds"),
        pause_until=_or_null("string", "with pause: ISO 8601 with zone; a pause always ends"),
        reason=_text("why, for the people who run this"),
        confidence=_typed("number", "0 to 1"),
        recommended_actions=_list(_text("what a person should look at, if anything")),
    )


def analysis_schema(tools: Sequence[str] = ()) -> Json:
    """Of the analysis of a task for which there are tools of these names."""
    part = _closed(
        id=_text("a short name of this part, unlike that of any other"),
        goal=_text("what it achieves"),
        depends_on=_list(_text("id of a part that comes before")),
    )
    return _closed(
        needs=_list(_text("a capability that the task needs")),
        complexity=_one_of(Complexity, "how hard the task is"),
        required_tools=_list(_name(tools, "of a tool, exactly as it was given")),
        sub_tasks=_list(part),
        reason=_text("why"),
    )


def _closed(**properties: Any) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _typed(kind: str, description: str) -> Json:
    return {"type": kind, "description": description}


def _text(description: str) -> Json:
    return _typed("string", description)


def _or_null(kind: str, description: str) -> Json:
    return {"type": [kind, "null"], "description": description}


def _list(item: Any) -> Json:
    return {"type": "array", "items": item}


def _one_of(words: Any, description: str) -> Json:
    return {"type": "string", "enum": list(get_args(words)), "description": description}


def _name(names: Sequence[str], description: str) -> Json:
    known = list(dict.fromkeys(names))
    said = _text(description)
    if known and len(known) <= MOST_NAMES and len("".join(known)) <= MOST_NAME_CHARACTERS:
        said["enum"] = [*known]
    return said
