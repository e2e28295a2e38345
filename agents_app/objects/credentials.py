"""Secrets that calls of a cycle carry: they go in and never come out, but to the call itself.

A credential of nobody is shared: every owner's endpoints may name it, and whoever says where an
endpoint leads could learn it there. So operators alone make shared ones and name the hosts that
they may travel to, and one that opens a provider of models opens no endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.db.models import F, Q, QuerySet
from pydantic import AfterValidator, Field, SecretStr, model_validator

from agents_app import credential_hosts
from agents_app.clients import http
from agents_app.clients.outgoing import target
from agents_app.models import Credential
from agents_app.models_objects import CredentialKind
from agents_app.objects import drafts, uses
from agents_app.objects.drafts import Draft, Invalid, Name
from executions_app import clock, encryption, permissions
from executions_app.audit import Actor

LONGEST: Final = 8_192
NAMED_KINDS: Final = frozenset({CredentialKind.HEADER, CredentialKind.QUERY})
SHARING: Final = "make, change or remove shared credentials"
COLUMNS: Final = ("name", "kind", "parameter", "hosts", "value", "rotated_at")
WORDS: Final = ("name", "kind", "parameter", "hosts")
FIXED_IN_USE: Final = ("name", "kind", "parameter")
NEEDS_HOSTS: Final = (
    "a shared credential names the hosts that it may travel to, such as api.example.com; "
    "without them whoever registers an endpoint could have it sent to themselves"
)
_SENDABLE: Final = re.compile(r"[\x20-\x7e]+")
_QUERY_NAME: Final = re.compile(r"[A-Za-z0-9._~\[\]-]{1,200}")


class CredentialDraft(Draft):
    """A secret, how it travels, to which hosts; one that exists keeps its `value` unless given."""

    name: Name
    kind: CredentialKind = CredentialKind.BEARER
    parameter: Annotated[str, Field(max_length=200)] = ""
    hosts: Annotated[
        list[Annotated[str, Field(max_length=260)]],
        Field(max_length=credential_hosts.MOST_HOSTS),
        AfterValidator(credential_hosts.checked),
    ] = []
    value: Annotated[SecretStr, Field(min_length=1, max_length=LONGEST)] | None = None

    @model_validator(mode="after")
    def _travels(self) -> Self:
        if self.kind in NAMED_KINDS:
            _check_parameter(self.kind, self.parameter)
        elif self.parameter:
            raise ValueError(f"kind {self.kind.value} travels in Authorization; no parameter")
        if self.value is not None:
            _check_value(self.kind, self.value.get_secret_value())
        return self


def _check_parameter(kind: CredentialKind, parameter: str) -> None:
    if not parameter:
        raise ValueError(f"kind {kind.value} needs a parameter: the name that carries it")
    if kind is CredentialKind.HEADER:
        http.checked_headers({parameter: "a"})
    elif not _QUERY_NAME.fullmatch(parameter):
        raise ValueError("parameter is no plain name of a query parameter")


def _check_value(kind: CredentialKind, value: str) -> None:
    if not _SENDABLE.fullmatch(value) or value != value.strip():
        raise ValueError("value has spaces around it, or characters other than printable ASCII")
    if kind is CredentialKind.BASIC and ":" not in value:
        raise ValueError("value of kind basic is user:password")


def check_owner(user: AbstractBaseUser | AnonymousUser, *, owner_id: int | None) -> None:
    """Raise OperatorNeeded if it is shared and `user` is no operator."""
    if owner_id is None:
        permissions.check_operator(user, SHARING)


def create(words: Mapping[str, Any], *, owner_id: int | None, actor: Actor) -> Credential:
    """Store a new secret, of an owner or shared (None); raises Invalid, NoKeys."""
    draft = drafts.parse(CredentialDraft, words)
    if draft.value is None:
        raise Invalid.field("value", "give the secret", code="required")
    row = Credential(owner_id=owner_id)
    _check_hosts(row, draft)
    _fill(row, draft)
    with transaction.atomic():
        drafts.hold()
        _check_name(row)
        row.rotated_at = row.updated_at = clock.now()
        drafts.save(row)
        drafts.record("created", row, actor, after=shown(row))
    return row


def change(credential_id: UUID, words: Mapping[str, Any], *, actor: Actor) -> Credential:
    """Change what these words name; with `value` it is rotated.

    Raises Unknown, Invalid, NoKeys; InUse if what uses it would be left without it.
    """
    with transaction.atomic():
        drafts.hold()
        row = drafts.locked(Credential.objects.all(), credential_id)
        before, old_name = shown(row), row.name
        kept = {name: before[name] for name in WORDS}
        draft = drafts.parse(CredentialDraft, {**kept, **words})
        _check_hosts(row, draft)
        if any(kept[name] != getattr(draft, name) for name in FIXED_IN_USE):
            _check_free_to_change(row, draft)
        _check_kept_value(row, draft)
        _fill(row, draft)
        if row.name != old_name:
            _check_name(row)
        row.updated_at = clock.now()
        if draft.value is not None:
            row.rotated_at = row.updated_at
        drafts.save(row, COLUMNS)
        note = "" if draft.value is None else "the value was replaced"
        drafts.record_change(row, actor, before=before, after=shown(row), note=note)
    return row


def remove(credential_id: UUID, *, actor: Actor) -> None:
    """Forget the secret; raises Unknown, and InUse with the names of who uses it."""
    with transaction.atomic():
        drafts.hold()
        row = drafts.locked(Credential.objects.all(), credential_id)
        uses.check(uses.of_credential(row))
        drafts.record("deleted", row, actor, before=shown(row))
        row.delete()


def shown(row: Credential) -> dict[str, Any]:
    """What may be known of a credential."""
    return {
        "name": row.name,
        "kind": str(row.kind),
        "parameter": row.parameter,
        "hosts": row.hosts,
        "owner": row.owner_id,
    }


def refused(row: Credential, url: str) -> str:
    """Why it must not travel to this URL; empty: it may. Raises ValueError for what is no URL."""
    return credential_hosts.problem(row.hosts, target(url), is_shared=row.owner_id is None)


def unbound() -> list[str]:
    """The shared ones that may travel anywhere still, from before they had to name hosts."""
    rows = Credential.objects.filter(owner=None, hosts=[]).order_by("name")
    return list(rows.values_list("name", flat=True)[: drafts.MOST_NAMED + 1])


def usable_by(owner_id: int | None) -> QuerySet[Credential]:
    """Those that an owner's objects may name: their own and the shared ones, their own first."""
    rows = Credential.objects.filter(Q(owner_id=owner_id) | Q(owner__isnull=True))
    return rows.order_by(F("owner_id").asc(nulls_last=True), "id")


def named(name: str, *, owner_id: int) -> Credential | None:
    """What an owner's endpoint means by a name: their own credential, else the shared one."""
    return usable_by(owner_id).filter(name=name).first()


def secret_of(row: Credential) -> str:
    """The secret, for the call that carries it; raises Undecryptable, NoKeys."""
    return encryption.decrypt(row.value)


def renew_all() -> int:
    """Encrypt every value anew, by the first key of the ring; answers how many there are.

    Raises Undecryptable, and then has changed nothing.
    """
    with transaction.atomic():
        rows = list(Credential.objects.select_for_update().order_by("id"))
        for one in rows:
            one.value = encryption.renewed(one.value)
        Credential.objects.bulk_update(rows, ["value"], batch_size=500)
    return len(rows)


def _fill(row: Credential, draft: CredentialDraft) -> None:
    row.name, row.kind, row.parameter = draft.name, draft.kind.value, draft.parameter
    row.hosts = draft.hosts
    if draft.value is not None:
        row.value = encryption.encrypt(draft.value.get_secret_value())


def _check_hosts(row: Credential, draft: CredentialDraft) -> None:
    """One of before they were needed is changed only together with getting some."""
    if row.owner_id is None and not draft.hosts:
        raise Invalid.field("hosts", NEEDS_HOSTS, code="required")


def _check_kept_value(row: Credential, draft: CredentialDraft) -> None:
    """A value that stays must fit the kind that it gets."""
    if draft.value is not None or draft.kind == row.kind:
        return
    try:
        _check_value(draft.kind, secret_of(row))
    except ValueError as error:
        raise Invalid.field("value", str(error)) from None


def _check_name(row: Credential) -> None:
    """An owner's credential would stand before a shared one of the same name."""
    if row.owner_id is not None and Credential.objects.filter(owner=None, name=row.name).exists():
        raise Invalid.field("name", "a shared credential has this name", code="unique")


def _check_free_to_change(row: Credential, draft: CredentialDraft) -> None:
    """Raise InUse if what uses it counts on the name, or on how it travels."""
    found = [("Endpoints name it as it is", uses.endpoints_naming(row))]
    if draft.kind != row.kind:
        found.append(("Providers use it as it is", uses.providers_of(row)))
    uses.check(found)
