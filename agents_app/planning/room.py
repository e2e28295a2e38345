"""How long an answer in a cycle may be, and how long its prompt then: as its model holds. Pure.

An answer that is longer than it may be comes cut off, and is of no use however often it is asked
for; so a plan gets room for all the steps that it may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

PLAN: Final = "plan"
ANY_ANSWER: Final = 2_000
"""Of all answers but a plan; the least of a plan, unless its model holds no more."""
PLAN_WITHOUT_STEPS: Final = 400
ONE_STEP: Final = 120  # with a sentence why and a few parameters
SHARE_OF_ANSWER: Final = 0.5  # of what a small model holds
MARGIN: Final = 500  # the form of the answer, which the prompt's estimate does not see


class Offering(Protocol):
    """A provider, by what it says of its models."""

    models: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Tokens. `prompt` is None where nobody has said how much the model holds.

    `enough`: an answer may be limited to so few where a budget has no room for more.
    """

    answer: int
    enough: int
    prompt: int | None


def of_a_plan(most_steps: int) -> int:
    """The tokens of a plan of so many steps."""
    return max(ANY_ANSWER, PLAN_WITHOUT_STEPS + ONE_STEP * most_steps)


def wanted_in(phase: str, *, most_steps: int) -> int:
    """The tokens of an answer in a phase, where a plan may have so many steps."""
    return of_a_plan(most_steps) if phase == PLAN else ANY_ANSWER


def found(wanted: int, *, provider: Offering, model: str, most: int) -> Room:
    """The room for an answer of `wanted` tokens, at most LLM_ANSWER_TOKENS (`most`)."""
    answer, context = min(wanted, most), context_tokens(provider, model)
    if context is None:
        return Room(answer=answer, enough=min(answer, ANY_ANSWER), prompt=None)
    answer = max(1, min(answer, int(context * SHARE_OF_ANSWER)))
    return Room(
        answer=answer,
        enough=min(answer, ANY_ANSWER),
        prompt=max(1, context - answer - min(MARGIN, context // 10)),
    )


def context_tokens(provider: Offering, model: str) -> int | None:
    """What the model holds, prompt and answer together, as its provider's list says."""
    listed = provider.models if isinstance(provider.models, list) else []
    entries = (one for one in listed if isinstance(one, Mapping) and one.get("name") == model)
    tokens = next(entries, {}).get("context_tokens")
    return tokens if isinstance(tokens, int) and tokens > 0 else None
