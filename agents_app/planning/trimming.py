"""Makes what a model is told fit its limits, the least useful first; some of it is never left out.

Never left out: the system instruction, the job, the names of endpoints and tools, the time, and the
last three messages. Beyond the limits of number, this goes, in this order, until the rest fits:

1. what the agent remembers: of facts and outcomes the oldest, or what is least alike;
2. how endpoints did: those with the fewest failures, then the fewest calls;
3. earlier executions, the oldest first;
4. messages, the oldest first, but the last three;
5. descriptions of tools and endpoints are shortened, then the schemas of their parameters to the
   names and types, then to nothing; of endpoints last.

Pure: what a context costs is measured by the caller, who knows the prompt.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from pydantic import JsonValue

from agents_app.planning.job_context import Bounds, EndpointFacts, JobContext, ToolFacts
from agents_app.planning.wording import as_json

CHARACTERS_A_TOKEN: Final = 4
LEAST_MESSAGES: Final = 3
SHORT_DESCRIPTION: Final = 80
MOST_RATIO: Final = 4.0
LEAST_RATIO: Final = 0.25
LEFT_OUT: Final = ("memory", "usage", "runs", "messages")
"""In the order in which they go."""

Measure = Callable[[JobContext], int]
Facts = TypeVar("Facts", EndpointFacts, ToolFacts)


def tokens(text: str, *, ratio: float = 1.0) -> int:
    """An estimate of what a model counts for `text`; `ratio` corrects it for that model."""
    return math.ceil(len(text) / CHARACTERS_A_TOKEN * ratio)


def ratio(*, reported: int, characters: int) -> float:
    """How far the estimate is off where a model counted `reported` tokens; kept within reason."""
    if reported <= 0 or characters <= 0:
        return 1.0
    found = reported * CHARACTERS_A_TOKEN / characters
    return round(min(MOST_RATIO, max(LEAST_RATIO, found)), 3)


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A context as it is told, and what was left out of it: {section: how many}."""

    context: JobContext
    dropped: Mapping[str, int] = field(default_factory=dict)


def trim(context: JobContext, limits: Bounds, *, measure: Measure) -> Trimmed:
    """The context within its limits of number, and of tokens as far as that can be had.

    Never costs more than the context as it was given.
    """
    fitting = _within_numbers(context, limits)
    if measure(fitting) > limits.max_tokens:
        fitting = _first_that_fits(list(_stages(fitting)), measure, limits.max_tokens)
    return Trimmed(fitting, _dropped(context, fitting))


def _within_numbers(context: JobContext, limits: Bounds) -> JobContext:
    return replace(
        context,
        messages=context.messages[: max(LEAST_MESSAGES, limits.max_messages)],
        usage=context.usage[: max(0, limits.max_endpoint_usage)],
    )


def _stages(context: JobContext) -> Iterator[JobContext]:
    """What is left of the context after each further cut."""
    for section in LEFT_OUT:
        values = getattr(context, section)
        least = LEAST_MESSAGES if section == "messages" else 0
        for kept in range(len(values) - 1, least - 1, -1):
            context = replace(context, **{section: values[:kept]})
            yield context
    for cut in (_with_short_description, _with_outlined_schema, _without_schema):
        context = replace(context, tools=tuple(cut(one) for one in context.tools))
        yield context
        context = replace(context, endpoints=tuple(cut(one) for one in context.endpoints))
        yield context


def _first_that_fits(stages: list[JobContext], measure: Measure, most: int) -> JobContext:
    """The first stage of at most `most` tokens, else the last; each costs no more than before."""
    low, high = 0, len(stages) - 1
    while low < high:
        middle = (low + high) // 2
        if measure(stages[middle]) <= most:
            high = middle
        else:
            low = middle + 1
    return stages[low]


def _with_short_description(facts: Facts) -> Facts:
    return replace(facts, description=facts.description[:SHORT_DESCRIPTION])


def _without_schema(facts: Facts) -> Facts:
    return replace(facts, parameters_schema={})


def _with_outlined_schema(facts: Facts) -> Facts:
    outlined = outline(facts.parameters_schema)
    is_shorter = len(as_json(outlined)) < len(as_json(facts.parameters_schema))
    return replace(facts, parameters_schema=outlined) if is_shorter else facts


def outline(schema: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A schema with nothing but the names and types of its properties, and which are required."""
    kept: dict[str, JsonValue] = {}
    properties = schema.get("properties")
    if isinstance(properties, dict):
        kept["properties"] = {
            name: {"type": one["type"]} if isinstance(one, dict) and "type" in one else {}
            for name, one in properties.items()
        }
    if schema.get("required"):
        kept["required"] = schema["required"]
    return kept


def _dropped(before: JobContext, after: JobContext) -> dict[str, int]:
    counted = Counter(
        {name: len(getattr(before, name)) - len(getattr(after, name)) for name in LEFT_OUT}
    )
    for name in ("tools", "endpoints"):
        pairs = zip(getattr(before, name), getattr(after, name), strict=True)
        counted[f"{name} (shortened)"] = sum(one != other for one, other in pairs)
    return {name: number for name, number in counted.items() if number}
