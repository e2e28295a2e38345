"""The secrets that a step's call carries: found and decrypted at the moment of the call.

A snapshot names credentials and never holds one; what comes back is searched for them
(`calling_redaction`).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, assert_never

from django.db.models import F, Q
from pydantic import BaseModel, ConfigDict, Field

from agents_app import connections, credential_hosts
from agents_app.calling_redaction import Redaction
from agents_app.clients import http
from agents_app.clients.outgoing import Target, target
from agents_app.models import Credential
from agents_app.models_objects import CredentialKind
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import encryption
from executions_app.scrub import is_secret_name


class CredentialRef(BaseModel):
    """In place of a header's value: the name of a credential, of the endpoint's owner or shared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    credential: Annotated[str, Field(min_length=1, max_length=200)]


Headers = dict[str, str | CredentialRef]


@dataclass(frozen=True, slots=True)
class Carried:
    """What credentials and fixed headers add to a request; `redaction` takes them out again."""

    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    redaction: Redaction = field(default_factory=Redaction)


def checked_headers(headers: Headers) -> Headers:
    """The headers as given; raises ValueError unless an endpoint may be registered with them."""
    plain = {name: value for name, value in headers.items() if isinstance(value, str)}
    http.checked_headers({**dict.fromkeys(headers, "x"), **plain})
    telling = sorted(name for name in plain if is_secret_name(name))
    if telling:
        raise ValueError(
            f"Header {telling[0]!r} looks like a secret; make it a credential and write "
            '{"credential": "its name"}'
        )
    return headers


def carried(headers: Headers, *, owner_id: int, url: str) -> Carried:
    """The headers with their credentials in, for a request that goes to `url`.

    Raises HandlerError (permanent) if one is missing or must not go there.
    """
    wanted = {
        name: value.credential for name, value in headers.items() if not isinstance(value, str)
    }
    plain = {name: value for name, value in headers.items() if isinstance(value, str)}
    secrets = [value for name, value in plain.items() if is_secret_name(name)]
    query: dict[str, str] = {}
    found = _found(wanted.values(), owner_id=owner_id)
    for name, credential_name in wanted.items():
        credential = found.get(credential_name)
        if credential is None:
            raise _unusable(credential_name, "there is none of this name for the endpoint's owner")
        _check_host(credential, target(url))
        _place(credential, name, headers=plain, query=query, secrets=secrets)
    return Carried(plain, query, Redaction(secrets))


def _found(names: Iterable[str], *, owner_id: int) -> dict[str, Credential]:
    """By name; of two of one name the owner's own, not the shared one.

    A shared one that opens a provider of models is nobody's but that provider's.
    """
    if not (wanted := list(names)):
        return {}
    rows = Credential.objects.filter(
        Q(owner_id=owner_id) | Q(owner__isnull=True, providers__isnull=True), name__in=wanted
    ).order_by(F("owner_id").asc(nulls_first=True))
    try:
        return {row.name: row for row in rows}
    finally:
        connections.let_go()


def _check_host(credential: Credential, at: Target) -> None:
    is_shared = credential.owner_id is None
    if problem := credential_hosts.problem(credential.hosts, at, is_shared=is_shared):
        raise _unusable(credential.name, problem)


def _place(
    credential: Credential,
    name: str,
    *,
    headers: dict[str, str],
    query: dict[str, str],
    secrets: list[str],
) -> None:
    secret = _decrypted(credential)
    secrets.append(secret)
    kind = CredentialKind(credential.kind)
    match kind:
        case CredentialKind.BEARER:
            headers["Authorization"] = f"Bearer {secret}"
        case CredentialKind.BASIC:
            encoded = b64encode(secret.encode()).decode()
            secrets += [encoded, secret.partition(":")[2]]
            headers["Authorization"] = f"Basic {encoded}"
        case CredentialKind.HEADER:
            headers[credential.parameter or name] = secret
        case CredentialKind.QUERY:
            query[credential.parameter or name] = secret
        case _:
            assert_never(kind)


def _decrypted(credential: Credential) -> str:
    try:
        return encryption.decrypt(credential.value).strip()
    except (encryption.Undecryptable, encryption.NoKeys) as error:
        raise _unusable(credential.name, str(error)) from None


def _unusable(name: str, reason: str) -> HandlerError:
    return HandlerError(
        f"The credential {name!r} cannot be used: {reason}",
        error_class=ErrorClass.PERMANENT,
        may_repeat=True,
    )
