"""Says what trimming does to a prompt: tokens before and after, by section, and what was left out.

For whoever sets `prompt_optimization` of a schedule; nothing here asks a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from agents_app.planning import prompts, trimming, wording
from agents_app.planning.job_context import Bounds, JobContext

SECTIONS: Final = ("job", "endpoints", "tools", "runs", "usage", "messages", "memory")
PLAN: Final = "plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one part of the context takes, in estimated tokens."""

    name: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A prompt before and after its limits, in estimated tokens.

    `delta`: what the limits saved, never below zero. `fits`: whether what is left is within
    `max_tokens`; where it is not, what is never left out is too large by itself. `dropped`:
    {section: how many}.
    """

    phase: str
    template_hash: str
    tokens_before: int
    tokens_after: int
    delta: int
    max_tokens: int
    fits: bool
    sections: tuple[Section, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As plain JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def optimize_job_context(
    context: JobContext, limits: Bounds, *, phase: str = PLAN
) -> tuple[JobContext, Report]:
    """The context as the model would be told of it in that phase, and what that saves."""
    original = prompts.untrimmed(phase, context, limits=limits)
    trimmed = prompts.trimmed(phase, context, limits=limits)
    optimised = prompts.untrimmed(phase, trimmed.context, limits=limits)
    report = Report(
        phase=phase,
        template_hash=optimised.template_hash,
        tokens_before=original.estimated_tokens,
        tokens_after=optimised.estimated_tokens,
        delta=original.estimated_tokens - optimised.estimated_tokens,
        max_tokens=limits.max_tokens,
        fits=optimised.estimated_tokens <= limits.max_tokens,
        sections=tuple(_section(name, context, trimmed.context) for name in SECTIONS),
        dropped=trimmed.dropped,
    )
    return trimmed.context, report


def analyze_prompt_optimization(
    context: JobContext, limits: Bounds, *, phase: str = PLAN
) -> Report:
    """What these limits would do to the prompt of that phase."""
    return optimize_job_context(context, limits, phase=phase)[1]


def _section(name: str, before: JobContext, after: JobContext) -> Section:
    return Section(name=name, before=_tokens(name, before), after=_tokens(name, after))


def _tokens(name: str, context: JobContext) -> int:
    value = getattr(context, name)
    text = wording.lines(value if isinstance(value, tuple) else [value])
    return trimming.tokens(text, ratio=context.token_ratio)
