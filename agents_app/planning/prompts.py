"""What a model is asked in each phase of a cycle: a system instruction and a message, by template.

Templates are files, named `PHASE.system.j2` and `PHASE.user.j2`; `template_hash` changes with any
of the sources that a phase is made of, so a stored call says what exactly was asked. They run in a
sandbox, a name that is not given is an error, and texts from outside stand in a fence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

from jinja2 import FileSystemLoader, StrictUndefined, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import JsonValue

from agents_app.clients.llm_question import TOKENS_PER_MESSAGE, Message
from agents_app.planning import fencing, trimming, wording
from agents_app.planning.job_context import Bounds, JobContext, Limits
from executions_app.scrub import scrub, storable_without_secrets

PHASES: Final = ("analyse", "plan", "summarise", "schedule")
ROLES: Final = ("system", "user")
SHARE_OF_RESULTS: Final = 0.5
LEAST_OF_A_RESULT: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a phase is told beside the context; each takes what it needs.

    `results`: one object per step, with `step`, `name`, `status` and `result` or `reason`.
    """

    analysis: Mapping[str, JsonValue] | None = None
    plan_reason: str = ""
    results: Sequence[Mapping[str, JsonValue]] = ()
    summary: str = ""
    outcome: str = ""
    most_steps: int = 50
    most_words: int = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Messages as a model gets them. `dropped`: what was left out, {section: how many}.

    `shorter`: the same in at most so many tokens.
    """

    messages: tuple[Message, ...]
    template: str
    template_hash: str
    estimated_tokens: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    shorter: Callable[[int], Rendered] | None = field(default=None, repr=False, compare=False)

    def within(self, most: int | None) -> Rendered:
        """The same for a model that takes no more tokens, as far as the floors of `trimming` go."""
        if most is None or self.estimated_tokens <= most or self.shorter is None:
            return self
        return self.shorter(most)


def messages_for(
    phase: str, context: JobContext, *, limits: Bounds, material: Material | None = None
) -> Rendered:
    """What the model is asked in a phase, within the limits.

    The floors of `trimming` hold: a prompt of nothing but these may be larger than `max_tokens`.
    """
    told = material or Material()
    kept = trimmed(phase, context, limits=limits, material=told)
    made = _rendered(phase, kept.context, _values(told, limits), dropped=kept.dropped)

    def shorter(most: int) -> Rendered:
        return messages_for(phase, context, limits=_narrowed(limits, most), material=told)

    return replace(made, shorter=shorter)


def _narrowed(limits: Bounds, most: int) -> Limits:
    return Limits(
        max_messages=limits.max_messages,
        max_endpoint_usage=limits.max_endpoint_usage,
        max_tokens=min(limits.max_tokens, most),
    )


def trimmed(
    phase: str, context: JobContext, *, limits: Bounds, material: Material | None = None
) -> trimming.Trimmed:
    """What the model is told of the context in a phase, and what is left out of it."""
    given = _values(material or Material(), limits)
    return trimming.trim(
        context, limits, measure=lambda one: _rendered(phase, one, given).estimated_tokens
    )


def untrimmed(phase: str, context: JobContext, *, limits: Bounds) -> Rendered:
    """The same with all of the context, to compare with."""
    return _rendered(phase, context, _values(Material(), limits))


def render(name: str, *, ratio: float = 1.0, **values: Any) -> Rendered:
    """The messages of a template; raises jinja2.UndefinedError if it names what is not given."""
    sources = [one for one in _names(name) if one in _files()]
    messages = tuple(
        Message(one.split(".")[1], _environment().get_template(one).render(values).strip())
        for one in sources
    )
    return Rendered(
        messages=messages,
        template=name,
        template_hash=template_hash(name),
        estimated_tokens=_tokens(messages, ratio=ratio),
    )


@cache
def template_hash(name: str) -> str:
    """12 hex digits of the SHA-256 of all the sources that the template is made of."""
    digest = hashlib.sha256()
    for one, source in sorted(_sources(_names(name)).items()):
        digest.update(f"{one}\n{len(source)}\n{source}".encode())
    return digest.hexdigest()[:12]


def _names(name: str) -> list[str]:
    return [f"{name}.{role}.j2" for role in ROLES]


def _sources(names: Sequence[str]) -> dict[str, str]:
    """The source of each of these that exists, and of all that they include."""
    environment, left, found = _environment(), list(names), dict[str, str]()
    while left:
        name = left.pop()
        if name not in found and name in _files():
            assert environment.loader is not None
            found[name] = environment.loader.get_source(environment, name)[0]
            included = meta.find_referenced_templates(environment.parse(found[name]))
            left += [one for one in included if one is not None]
    return found


def _values(material: Material, limits: Bounds) -> dict[str, Any]:
    return {
        "analysis": material.analysis,
        "plan_reason": material.plan_reason,
        "results": _within(material.results, limits.max_tokens),
        "summary": scrub(material.summary),
        "outcome": material.outcome,
        "most_steps": material.most_steps,
        "most_words": material.most_words,
    }


def _within(results: Sequence[Mapping[str, JsonValue]], max_tokens: int) -> list[JsonValue]:
    """The results without secrets, each cut to its even share of what results may take."""
    characters = max_tokens * trimming.CHARACTERS_A_TOKEN * SHARE_OF_RESULTS
    share = max(LEAST_OF_A_RESULT, int(characters / max(1, len(results))))
    return [storable_without_secrets(one, max_bytes=share)[0] for one in results]


def _rendered(
    phase: str,
    context: JobContext,
    given: Mapping[str, Any],
    *,
    dropped: Mapping[str, int] | None = None,
) -> Rendered:
    made = render(
        phase,
        ratio=context.token_ratio,
        context=context,
        job=context.job,
        agent=context.agent,
        **given,
    )
    return Rendered(
        messages=made.messages,
        template=made.template,
        template_hash=made.template_hash,
        estimated_tokens=made.estimated_tokens,
        dropped=dropped or {},
    )


def _tokens(messages: Sequence[Message], *, ratio: float) -> int:
    text = sum(trimming.tokens(one.content, ratio=ratio) for one in messages)
    return text + TOKENS_PER_MESSAGE * len(messages)


@cache
def _files() -> frozenset[str]:
    return frozenset(_environment().list_templates())


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(wording.TEMPLATES),
        autoescape=False,  # no HTML: untrusted text is fenced, and never a template
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {"fence_opens": fencing.OPENS, "fence_closes": fencing.CLOSES}
    environment.filters |= wording.FILTERS
    return environment
