"""Who plans and carries out the cycles: a model with instructions, and how much of it at once.

Everybody's schedules may name an agent, so operators alone set them. What is running counts
against its capacity; nothing has to be released.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from pydantic import AfterValidator, Field, field_validator

from agents_app.models import Agent, Cycle, CycleStage, CycleStatus, Provider
from agents_app.objects import drafts, environment, providers, uses
from agents_app.objects.drafts import Draft, FieldProblem, InUse, Invalid, Name
from agents_app.objects.providers import Reference
from agents_app.tools import registry
from executions_app import clock
from executions_app.audit import Actor

MOST_INSTRUCTIONS: Final = 8_000
MOST_WORDS: Final = 50
MOST_AT_ONCE: Final = 1_000
COLUMNS: Final = (
    "name", "provider", "model", "temperature", "instructions", "capabilities", "tools",
    "max_concurrent", "fallback_agent", "enabled",
)  # fmt: skip
FORGOTTEN: Final = ("failures_in_row", "unhealthy_until")
OF_THE_ENVIRONMENT: Final = ("name", "provider", "model")
BEGUN: Final = tuple(one for one in CycleStage if one not in {CycleStage.WAIT, CycleStage.DONE})


def _distinct(words: list[str]) -> list[str]:
    return sorted(set(words))


def _text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL character")
    return text


Words = Annotated[list[Name], Field(max_length=MOST_WORDS), AfterValidator(_distinct)]


class AgentDraft(Draft):
    """Providers and stand-ins go by name or id; without a model it is its provider's first."""

    name: Name
    provider: Reference
    model: Annotated[str, Field(max_length=200, pattern=r"^[\x21-\x7e]*$")] = ""
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.2
    instructions: Annotated[str, Field(max_length=MOST_INSTRUCTIONS), AfterValidator(_text)] = ""
    capabilities: Words = []
    tools: Words = []
    max_concurrent: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 5
    fallback_agent: Reference | None = None
    enabled: bool = True

    @field_validator("fallback_agent", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value


def create(words: Mapping[str, Any], *, actor: Actor) -> Agent:
    """Store a new agent; the next cycle may choose it. Raises Invalid."""
    draft = drafts.parse(AgentDraft, words)
    row = Agent()
    with transaction.atomic():
        drafts.hold()
        _fill(row, draft)
        row.updated_at = clock.now()
        drafts.save(row)
        drafts.record("created", row, actor, after=stored(row))
    return row


def change(agent_id: UUID, words: Mapping[str, Any], *, actor: Actor) -> Agent:
    """Change what these words name; a list among them is replaced as a whole.

    What runs goes on with what it began with. Raises Unknown, Invalid.
    """
    with transaction.atomic():
        drafts.hold()
        row = drafts.locked(Agent.objects.all(), agent_id)
        before = stored(row)
        draft = drafts.parse(AgentDraft, {**before, **words})
        if draft.name != row.name:
            _check_unnamed(row.name)
        _fill(row, draft)
        after = stored(row)
        if row.is_from_environment:
            providers.drafts_of_environment(before, after, fixed=OF_THE_ENVIRONMENT)
        columns: tuple[str, ...] = COLUMNS
        if any(before[name] != after[name] for name in ("provider", "model", "enabled")):
            row.failures_in_row, row.unhealthy_until = 0, None
            columns = (*COLUMNS, *FORGOTTEN)
        row.updated_at = clock.now()
        drafts.save(row, columns)
        drafts.record_change(row, actor, before=before, after=after)
    return row


def remove(agent_id: UUID, *, actor: Actor) -> None:
    """Take it away with what it remembers; raises Unknown, and InUse with who uses it."""
    with transaction.atomic():
        drafts.hold()
        row = drafts.locked(Agent.objects.all(), agent_id)
        if row.is_from_environment and environment.provider() is not None:
            raise InUse("It is that of the environment; disable it, or take its key away")
        uses.check(uses.of_agent(row))
        drafts.record("deleted", row, actor, before=stored(row))
        row.delete()


def stored(row: Agent) -> dict[str, Any]:
    """The words that an agent has now, references as ids."""
    words = {name: getattr(row, name) for name in COLUMNS}
    words["provider"] = str(row.provider_id)
    words["fallback_agent"] = row.fallback_agent_id and str(row.fallback_agent_id)
    return words


def with_use() -> QuerySet[Agent]:
    """All agents, each with `used`: the cycles that it works on now; in one query."""
    working = (
        Cycle.objects.filter(agent_id=OuterRef("id"), status=CycleStatus.RUNNING, stage__in=BEGUN)
        .order_by()
        .values("agent_id")
        .annotate(number=Count("id"))
        .values("number")
    )
    used = Coalesce(Subquery(working, output_field=IntegerField()), 0)
    return Agent.objects.select_related("provider", "fallback_agent").annotate(used=used)


def usable() -> Q:
    """Which agents may be chosen at all: enabled, at a provider that may be asked."""
    return Q(enabled=True) & providers.available("provider__")


def _fill(row: Agent, draft: AgentDraft) -> None:
    provider, problems = drafts.referred(Provider.objects.all(), draft.provider, field="provider")
    fallback, more = drafts.referred(
        Agent.objects.all(), draft.fallback_agent, field="fallback_agent"
    )
    problems = [*problems, *more, *_tool_problems(row, draft)]
    if fallback is not None:
        problems += _circle_problems(row, draft.name, fallback)
    is_given = row.is_from_environment  # the environment names the model, or nobody can
    model = draft.model if is_given else draft.model or _first_model(provider)
    if provider is not None and not model and not is_given:
        message = f"provider {provider.name!r} lists no models; name one"
        problems.append(FieldProblem(("model",), "required", message))
    if problems or provider is None:
        raise Invalid(problems)
    for name in ("name", "temperature", "instructions", "capabilities", "tools"):
        setattr(row, name, getattr(draft, name))
    row.max_concurrent, row.enabled, row.model = draft.max_concurrent, draft.enabled, model
    row.provider, row.fallback_agent = provider, fallback


def _tool_problems(row: Agent, draft: AgentDraft) -> Iterator[FieldProblem]:
    """Those that it had already may be gone since; that keeps nobody from changing the rest."""
    known = registry.names()
    for name in draft.tools:
        if name not in known and name not in row.tools:
            message = f"there is no tool {name!r}; known are {', '.join(known)}"
            yield FieldProblem(("tools",), "unknown", message)


def _first_model(provider: Provider | None) -> str:
    return str(provider.models[0]["name"]) if provider is not None and provider.models else ""


def _circle_problems(row: Agent, name: str, fallback: Agent) -> list[FieldProblem]:
    links = dict(Agent.objects.values_list("id", "fallback_agent_id"))
    way = drafts.circle(row.id, fallback.id, links)
    if not way:
        return []
    names = dict(Agent.objects.filter(id__in=way).values_list("id", "name"))
    words = " -> ".join([name, *(name if one == row.id else names[one] for one in way)])
    message = f"it would stand in for itself: {words}"
    return [FieldProblem(("fallback_agent",), "cycle", message)]


def _check_unnamed(name: str) -> None:
    schedules = uses.schedules_of_agent(name)
    if schedules:
        message = f"schedules name this agent: {drafts.named(schedules)}; change them first"
        raise Invalid.field("name", message, code="in_use")
