"""Who offers models to cycles: their address, their key by reference, and what their tokens cost.

Only operators have providers: an address is called as it stands, whatever network it is in. The
one of the environment exists without further set-up, and its key is stored nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from pydantic import AfterValidator, Field, field_validator

from agents_app.clients.outgoing import checked_url
from agents_app.models import Credential, Provider
from agents_app.models_objects import ModelMode
from agents_app.objects import credentials, drafts, environment, uses
from agents_app.objects.drafts import Draft, FieldProblem, InUse, Invalid, Name, Part
from executions_app import clock
from executions_app.audit import Actor

MOST_MODELS: Final = 200
MOST_TOKENS: Final = 100_000_000
COLUMNS: Final = ("name", "base_url", "credential", "fallback_provider", "enabled", "models")
FORGOTTEN: Final = ("mode", "probed_at", "failures_in_row", "unhealthy_until")
"""What was learned of the address of before."""
OF_THE_ENVIRONMENT: Final = ("name", "base_url", "credential")

Price = Annotated[Decimal, Field(ge=0, le=1_000_000, max_digits=14, decimal_places=6)]
Reference = Annotated[str, Field(min_length=1, max_length=100)]


def _base_url(url: str) -> str:
    if not url:
        return url
    parts = urlsplit(checked_url(url))
    if "@" in parts.netloc:
        raise ValueError("carries no account; make that a credential")
    if parts.query or parts.fragment:
        raise ValueError("ends with its path: no query, no fragment")
    return url.rstrip("/")


class ModelPrice(Part):
    """A model that a provider offers; without a price its tokens are counted at no cost."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
    usd_per_1m_input: Price = Decimal(0)
    usd_per_1m_output: Price = Decimal(0)
    context_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None


def _named_once(models: list[ModelPrice]) -> list[ModelPrice]:
    names = [one.name for one in models]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"model {twice!r} is listed twice")
    return models


class ProviderDraft(Draft):
    """Credentials and stand-ins go by name or id."""

    name: Name
    base_url: Annotated[str, Field(max_length=2_000), AfterValidator(_base_url)] = ""
    credential: Reference | None = None
    fallback_provider: Reference | None = None
    enabled: bool = True
    models: Annotated[
        list[ModelPrice], Field(max_length=MOST_MODELS), AfterValidator(_named_once)
    ] = []

    @field_validator("credential", "fallback_provider", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a provider is asked, and with which key; empty: OpenAI's own, or none."""

    base_url: str
    key: str = field(repr=False)


def create(words: Mapping[str, Any], *, actor: Actor) -> Provider:
    """Store a new provider; raises Invalid."""
    draft = drafts.parse(ProviderDraft, words)
    row = Provider()
    with transaction.atomic():
        drafts.hold()
        _fill(row, draft, actor=actor)
        row.updated_at = clock.now()
        drafts.save(row)
        drafts.record("created", row, actor, after=stored(row))
    return row


def change(provider_id: UUID, words: Mapping[str, Any], *, actor: Actor) -> Provider:
    """Change what these words name; a list among them is replaced as a whole.

    Raises Unknown, Invalid.
    """
    with transaction.atomic():
        drafts.hold()
        row = drafts.locked(Provider.objects.all(), provider_id)
        before = stored(row)
        draft = drafts.parse(ProviderDraft, {**before, **words})
        _fill(row, draft, actor=actor)
        after = stored(row)
        if row.is_from_environment:
            drafts_of_environment(before, after, fixed=OF_THE_ENVIRONMENT)
        _settle(row, before, after)
        drafts.record_change(row, actor, before=before, after=after)
    return row


def remove(provider_id: UUID, *, actor: Actor) -> None:
    """Ask it no more; raises Unknown, and InUse with the names of who uses it."""
    with transaction.atomic():
        drafts.hold()
        row = drafts.locked(Provider.objects.all(), provider_id)
        if row.is_from_environment and environment.provider() is not None:
            raise InUse("It is that of the environment; disable it, or take its key away")
        uses.check(uses.of_provider(row))
        drafts.record("deleted", row, actor, before=stored(row))
        row.delete()


def stored(row: Provider) -> dict[str, Any]:
    """The words that a provider has now, references as ids."""
    return {
        "name": row.name,
        "base_url": row.base_url,
        "credential": row.credential_id and str(row.credential_id),
        "fallback_provider": row.fallback_provider_id and str(row.fallback_provider_id),
        "enabled": row.enabled,
        "models": row.models,
    }


def connection(row: Provider) -> Connection | None:
    """Where and with what it is asked; None if the environment that it is of has no key (now).

    Address and key of the environment go together, whatever the row still says. Raises
    Undecryptable, NoKeys.
    """
    if row.is_from_environment:
        given = environment.provider()
        return None if given is None else Connection(given.base_url, given.key)
    key = "" if row.credential is None else credentials.secret_of(row.credential)
    return Connection(row.base_url, key)


def misplaced(row: Provider, *, base_url: str) -> str:
    """Why its key must not travel to this address; empty: it may."""
    if row.is_from_environment or row.credential is None:
        return ""
    return credentials.refused(row.credential, base_url)


def available(prefix: str = "") -> Q:
    """Which providers may be asked at all, seen from a table whose path to them is `prefix`."""
    enabled = Q(**{f"{prefix}enabled": True})
    if environment.provider() is not None:
        return enabled
    return enabled & Q(**{f"{prefix}is_from_environment": False})


def drafts_of_environment(
    before: Mapping[str, Any], after: Mapping[str, Any], *, fixed: Sequence[str]
) -> None:
    """Raise Invalid for changes of what the environment says."""
    problems = [
        FieldProblem((name,), "fixed", "the environment says this; set it there, or make another")
        for name in fixed
        if before[name] != after[name]
    ]
    if problems:
        raise Invalid(problems)


def _fill(row: Provider, draft: ProviderDraft, *, actor: Actor) -> None:
    chosen = credentials.usable_by(actor.user_id)
    if row.credential_id is not None:
        chosen = chosen | Credential.objects.filter(id=row.credential_id)
    credential, problems = drafts.referred(chosen, draft.credential, field="credential")
    fallback, more = drafts.referred(
        Provider.objects.all(), draft.fallback_provider, field="fallback_provider"
    )
    problems = [*problems, *more, *_credential_problems(row, credential)]
    problems += _host_problems(row, credential, base_url=draft.base_url)
    if fallback is not None:
        problems += _circle_problems(row, draft.name, fallback)
    if problems:
        raise Invalid(problems)
    row.name, row.base_url, row.enabled = draft.name, draft.base_url, draft.enabled
    row.credential, row.fallback_provider = credential, fallback
    row.models = [one.model_dump(mode="json") for one in draft.models]


def _credential_problems(row: Provider, credential: Credential | None) -> Iterator[FieldProblem]:
    """One that endpoints may name would tell the key to whoever says where those lead."""
    if credential is None or credential.id == row.credential_id:
        return
    if credential.kind != "bearer":
        message = f"a key of a provider is of kind bearer, not {credential.kind}"
        yield FieldProblem(("credential",), "invalid", message)
    names = uses.endpoints_naming(credential) if credential.owner_id is None else []
    if names:
        message = f"endpoints use this shared credential: {drafts.named(names)}; make another"
        yield FieldProblem(("credential",), "in_use", message)


def _host_problems(
    row: Provider, credential: Credential | None, *, base_url: str
) -> Iterator[FieldProblem]:
    """A key that must not go there; whoever changes neither key nor address is not held up."""
    if credential is None or (credential.id, base_url) == (row.credential_id, row.base_url):
        return
    if problem := credentials.refused(credential, base_url or environment.OPENAI_URL):
        message = f"credential {credential.name!r} cannot be used: {problem}"
        yield FieldProblem(("credential",), "invalid", message)


def _circle_problems(row: Provider, name: str, fallback: Provider) -> list[FieldProblem]:
    links = dict(Provider.objects.values_list("id", "fallback_provider_id"))
    way = drafts.circle(row.id, fallback.id, links)
    if not way:
        return []
    names = dict(Provider.objects.filter(id__in=way).values_list("id", "name"))
    words = " -> ".join([name, *(name if one == row.id else names[one] for one in way)])
    message = f"it would stand in for itself: {words}"
    return [FieldProblem(("fallback_provider",), "cycle", message)]


def _settle(row: Provider, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    columns: tuple[str, ...] = COLUMNS
    if any(before[name] != after[name] for name in ("base_url", "credential", "enabled")):
        forget(row)
        columns = (*COLUMNS, *FORGOTTEN)
    row.updated_at = clock.now()
    drafts.save(row, columns)


def forget(row: Provider) -> None:
    """Of another address nothing is known: what the last one could do, and how it failed."""
    row.mode, row.probed_at = ModelMode.UNKNOWN.value, None
    row.failures_in_row, row.unhealthy_until = 0, None
