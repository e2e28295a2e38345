"""Calls that plans may make: nothing that an owner has not registered here ever leaves a cycle.

A person says where a call goes and what it carries; a plan fills in the parameters, and no more of
them than the schema admits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from django.db import transaction
from pydantic import AfterValidator, Field, field_validator, model_validator

from agents_app import calling_address, calling_secrets
from agents_app.calling_retry import EndpointRetry
from agents_app.calling_secrets import CredentialRef, Headers
from agents_app.models import Credential, Endpoint, Provider
from agents_app.models_objects import CredentialKind, SideEffect
from agents_app.objects import credentials, drafts, schemas, uses
from agents_app.objects.drafts import Draft, FieldProblem, Invalid, Name
from executions_app import clock
from executions_app.audit import Actor
from executions_app.scrub import is_secret_name

LONGEST_TIMEOUT_MS: Final = 300_000
MOST_HEADERS: Final = 20
MOST_RETRIES: Final = 10
READING: Final = frozenset({"GET", "HEAD"})
MAY_READ: Final = frozenset({*READING, "POST"})  # a search is often a POST
COLUMNS: Final = (
    "name", "description", "method", "url", "headers", "parameters_schema", "side_effect",
    "timeout_ms", "critical", "retry", "enabled",
)  # fmt: skip

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def _few(retry: EndpointRetry) -> EndpointRetry:
    own = [one.max_retries or 0 for one in retry.per_class.values()]
    if max([retry.max_retries, *own]) > MOST_RETRIES:
        raise ValueError(f"max_retries of a step is at most {MOST_RETRIES}")
    return retry


def _url(url: str) -> str:
    calling_address.checked(url)
    query = url.partition("?")[2].partition("#")[0]
    for part in query.split("&"):
        name = part.partition("=")[0]
        if name and is_secret_name(name):
            raise ValueError(f"{name!r} looks like a secret; make it a credential of kind query")
    return url


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return schemas.checked(schema)


class EndpointDraft(Draft):
    """A registered call; `{name}` in the path of its URL is a parameter."""

    name: Name
    description: Annotated[str, Field(max_length=2_000, pattern=r"^[^\x00]*$")] = ""
    method: Method = "GET"
    url: Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_url)]
    headers: Annotated[
        Headers, Field(max_length=MOST_HEADERS), AfterValidator(calling_secrets.checked_headers)
    ] = {}
    parameters_schema: Annotated[dict[str, Any], AfterValidator(_schema)] = Field(
        default_factory=lambda: _schema({})
    )
    side_effect: SideEffect | None = None
    timeout_ms: Annotated[int, Field(ge=1, le=LONGEST_TIMEOUT_MS)] = 30_000
    critical: bool = False
    retry: Annotated[EndpointRetry, AfterValidator(_few)] = EndpointRetry()
    enabled: bool = True

    @field_validator("method", mode="before")
    @classmethod
    def _in_upper_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.side_effect is SideEffect.READ and self.method not in MAY_READ:
            raise ValueError(f"{self.method} changes something: its side_effect is write")
        folded = [name.lower() for name in self.headers]
        if len(set(folded)) < len(folded):
            raise ValueError("two headers differ in upper and lower case only")
        return self

    @property
    def effect(self) -> SideEffect:
        """What was said; else what reads by its method reads, and all others write."""
        usual = SideEffect.READ if self.method in READING else SideEffect.WRITE
        return self.side_effect or usual

    def columns(self) -> dict[str, Any]:
        """The values as the endpoint's columns hold them."""
        words = self.model_dump(mode="json", exclude={"side_effect", "retry"})
        retry = self.retry.model_dump(mode="json", exclude_unset=True)
        return {**words, "side_effect": self.effect.value, "retry": retry}


def create(words: Mapping[str, Any], *, owner_id: int, actor: Actor) -> Endpoint:
    """Store a new endpoint; plans of its owner's schedules may name it. Raises Invalid."""
    draft = drafts.parse(EndpointDraft, words)
    row = Endpoint(owner_id=owner_id)
    with transaction.atomic():
        drafts.hold()
        _fill(row, draft)
        row.updated_at = clock.now()
        drafts.save(row)
        drafts.record("created", row, actor, after=stored(row))
    return row


def change(endpoint_id: UUID, words: Mapping[str, Any], *, actor: Actor) -> Endpoint:
    """Change what these words name; an object among them is replaced as a whole.

    Cycles that have planned already call it as it was. Raises Unknown, Invalid.
    """
    with transaction.atomic():
        drafts.hold()
        row = drafts.locked(Endpoint.objects.all(), endpoint_id)
        before = stored(row)
        draft = drafts.parse(EndpointDraft, {**_kept(before, words), **words})
        if draft.name != row.name:
            _check_unnamed(row)
        _fill(row, draft)
        row.updated_at = clock.now()
        drafts.save(row, COLUMNS)
        drafts.record_change(row, actor, before=before, after=stored(row))
    return row


def remove(endpoint_id: UUID, *, actor: Actor) -> None:
    """Call it no more; raises Unknown, and InUse with the schedules that name it."""
    with transaction.atomic():
        drafts.hold()
        row = drafts.locked(Endpoint.objects.all(), endpoint_id)
        names = uses.schedules_of_endpoint(row.name, owner_id=row.owner_id)
        uses.check([("Schedules use it", names)])
        drafts.record("deleted", row, actor, before=stored(row))
        row.delete()


def stored(row: Endpoint) -> dict[str, Any]:
    """The words that an endpoint has now."""
    return {name: getattr(row, name) for name in COLUMNS}


def _kept(before: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """What stays; another method has another usual effect."""
    is_other = str(words.get("method", before["method"])).upper() != before["method"]
    return {name: value for name, value in before.items() if name != "side_effect" or not is_other}


def _fill(row: Endpoint, draft: EndpointDraft) -> None:
    names = calling_address.names(draft.url)
    problems = [
        FieldProblem(("parameters_schema",), "invalid", message)
        for message in schemas.path_problems(draft.parameters_schema, names)
    ]
    problems += _header_problems(draft.headers, owner_id=row.owner_id)
    problems += _host_problems(row, draft)
    if problems:
        raise Invalid(problems)
    for name, value in draft.columns().items():
        setattr(row, name, value)


def _header_problems(headers: Headers, *, owner_id: int) -> Iterator[FieldProblem]:
    for header, value in headers.items():
        if not isinstance(value, CredentialRef):
            continue
        message = _misuse(header, credentials.named(value.credential, owner_id=owner_id), value)
        if message:
            yield FieldProblem(("headers", header, "credential"), "invalid", message)


def _host_problems(row: Endpoint, draft: EndpointDraft) -> Iterator[FieldProblem]:
    """Credentials that must not go where it leads; whoever changes neither is not held up."""
    if (row.url, row.headers) == (draft.url, draft.columns()["headers"]):
        return
    for header, value in draft.headers.items():
        name = value.credential if isinstance(value, CredentialRef) else ""
        found = credentials.named(name, owner_id=row.owner_id) if name else None
        if found and (problem := credentials.refused(found, calling_address.example(draft.url))):
            message = f"credential {name!r} cannot be used: {problem}"
            yield FieldProblem(("headers", header, "credential"), "invalid", message)


def _misuse(header: str, found: Credential | None, value: CredentialRef) -> str:
    """What is wrong with a credential under this header; empty: nothing."""
    if found is None:
        return f"you have no credential {value.credential!r}, and none is shared"
    is_named = found.kind in {CredentialKind.HEADER, CredentialKind.QUERY}
    carrier = found.parameter if is_named else "Authorization"
    if header.lower() != carrier.lower():
        return f"credential {found.name!r} travels as {carrier!r}; write it under that name"
    if found.owner_id is None and Provider.objects.filter(credential=found).exists():
        return f"credential {found.name!r} is the key of a provider of models; make another"
    return ""


def _check_unnamed(row: Endpoint) -> None:
    names = uses.schedules_of_endpoint(row.name, owner_id=row.owner_id)
    if names:
        message = f"schedules name this endpoint: {drafts.named(names)}; change them first"
        raise Invalid.field("name", message, code="in_use")
