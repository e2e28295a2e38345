"""One step's call of a registered endpoint: nothing that is not registered is ever called.

A step holds a snapshot of its endpoint, which names credentials and has no secret. The call goes
through the one HTTP door; what comes back is bounded, without secrets, and data: no word in it
leads to another call. Redirects are not followed, since where they lead is not registered.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from agents_app import calling_address, calling_retry, calling_secrets
from agents_app.calling_redaction import Redaction
from agents_app.calling_retry import EndpointRetry, Lately, Tries
from agents_app.calling_secrets import Carried, CredentialRef
from agents_app.clients import http, statuses
from agents_app.clients.outgoing import shown
from agents_app.clients.patience import pause
from agents_app.models import Endpoint
from agents_app.planning import parameter_schemas
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.scrub import storable_without_secrets
from executions_app.states import SchedulerException

MOST_ANSWER_BYTES: Final = 60 * 1024

logger = logging.getLogger(__name__)
_random: Final = random.SystemRandom()
_lately: Final = Lately()


class Snapshot(BaseModel):
    """An endpoint as it was when the plan was made."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: UUID
    owner_id: int
    name: str
    description: str = ""
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    url: str
    headers: dict[str, str | CredentialRef] = {}
    parameters_schema: dict[str, JsonValue] = {}
    side_effect: Literal["read", "write"]
    timeout_ms: Annotated[int, Field(ge=1)]
    critical: bool = False
    retry: EndpointRetry = EndpointRetry()

    @property
    def is_idempotent(self) -> bool:
        return calling_retry.may_repeat(
            self.method, side_effect=self.side_effect, idempotent=self.retry.idempotent
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a step asks for. `deadline`: monotonic; `check` raises when the step is to stop."""

    endpoint: Mapping[str, Any]
    parameters: Mapping[str, Any]
    step_id: UUID
    correlation_id: str = ""
    deadline: float
    check: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What came back: `body` is JSON where it is, else text; `attempts` counts all tries."""

    status: int
    body: JsonValue
    truncated: bool
    attempts: int
    duration_ms: int

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "status": self.status,
            "body": self.body,
            "truncated": self.truncated,
            "attempts": self.attempts,
            "duration_ms": self.duration_ms,
        }


def snapshot_of(endpoint: Endpoint) -> dict[str, Any]:
    """What a step keeps of its endpoint, as JSON; credentials by name, so never a secret.

    Raises HandlerError (permanent) if the row holds what cannot be called.
    """
    names = [name for name in Snapshot.model_fields if name not in {"id", "owner_id"}]
    words = {name: getattr(endpoint, name) for name in names}
    return _parsed({"id": endpoint.id, "owner_id": endpoint.owner_id, **words}).model_dump(
        mode="json"
    )


def call(call: Call, *, door: http.Door | None = None) -> Called:
    """Make the call, and again where that may help and does no harm, all before its deadline.

    Raises HandlerError, whose class says why; what `check` raises passes through.
    """
    endpoint = _parsed(call.endpoint)
    began = time.monotonic()
    request, redaction = _request(endpoint, call)
    tries = Tries(
        endpoint.retry,
        key=request.breaker or "",
        ends=call.deadline,
        lately=_lately,
        rng=_random,
    )
    while True:
        try:
            response = _try(request, endpoint, call, door=door or http.door(), redaction=redaction)
        except HandlerError as error:
            wait = tries.wait(error, is_idempotent=request.is_idempotent)
            if wait is None:
                error.context["attempts"] = tries.made
                raise
            pause(wait, call.check)
            continue
        return _called(response, attempts=tries.made + 1, began=began)


def _parsed(snapshot: Mapping[str, Any]) -> Snapshot:
    try:
        parsed = Snapshot.model_validate(snapshot)
        calling_address.checked(parsed.url)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    else:
        return parsed
    raise _unfit(f"The endpoint {snapshot.get('name', '')!r} cannot be called: {reason}") from None


def _request(endpoint: Snapshot, call: Call) -> tuple[http.Request, Redaction]:
    """What is sent, and what takes the secrets in it out again."""
    parameters = dict(call.parameters)
    _check_parameters(endpoint, parameters)
    url, left = calling_address.filled(endpoint.url, parameters)
    carried = calling_secrets.carried(endpoint.headers, owner_id=endpoint.owner_id, url=url)
    sends_body = endpoint.method in statuses.WITH_BODY
    query = {} if sends_body else {name: one for name, one in left.items() if one is not None}
    calling_address.check_query(endpoint.url, query | carried.query)
    _check_not_carried(query, carried)
    request = http.Request(
        method=endpoint.method,
        url=url,
        headers={"Accept": "*/*"} | carried.headers | _identity(call),
        params=statuses.as_query(query | carried.query),
        json=left if sends_body and left else None,
        max_redirects=0,
        breaker=calling_address.breaker_key(endpoint.url),
        is_idempotent=endpoint.is_idempotent,
        failure_level=logging.DEBUG,  # every try has its line here, with the endpoint's name
    )
    return request, carried.redaction


def _check_parameters(endpoint: Snapshot, parameters: Mapping[str, Any]) -> None:
    found = parameter_schemas.misfits(parameters, schema=endpoint.parameters_schema)
    if found:
        said = "; ".join(f"{where} {what}".strip() for where, what in found)
        raise _unfit(f"The parameters of {endpoint.name!r} do not fit: {said}")


def _check_not_carried(query: Mapping[str, Any], carried: Carried) -> None:
    """A parameter must not take the place of a credential."""
    secret_names = {name.casefold() for name in carried.query}
    for name in query:
        if name.casefold() in secret_names:
            raise _unfit(f"The parameter {name!r} is set by a credential of the endpoint")


def _identity(call: Call) -> dict[str, str]:
    """Every try of a step is the same request, also after its execution was tried again."""
    return {
        "Idempotency-Key": str(call.step_id),
        "X-Request-ID": statuses.request_id(call.correlation_id, otherwise=call.step_id),
    }


def _try(
    request: http.Request,
    endpoint: Snapshot,
    call: Call,
    *,
    door: http.Door,
    redaction: Redaction,
) -> http.Response:
    """One try; raises HandlerError unless it is answered with 2xx."""
    seconds = min(endpoint.timeout_ms / 1000, call.deadline - time.monotonic())
    began = time.monotonic()
    key = request.breaker or ""
    try:
        response = door.fetch(
            request, timeout=max(0.0, seconds), check=call.check, max_bytes=MOST_ANSWER_BYTES
        )
        response = _clean(response, redaction)
        if not 200 <= response.status < 300:
            raise _refused(request, response)
    except SchedulerException as error:
        redaction.error(error)
        if isinstance(error, HandlerError):
            _lately.note(key, failed=error.error_class is not ErrorClass.PERMANENT)
        _note(request, endpoint, began=began, what=str(error))
        raise
    _lately.note(key, failed=False)
    _note(request, endpoint, began=began, what=f"answered {response.status}")
    return response


def _refused(request: http.Request, response: http.Response) -> HandlerError:
    if not 300 <= response.status < 400:
        return statuses.refused(request, response)
    where = shown(str(response.headers.get("location", "")))
    return HandlerError(
        f"{request.method} {shown(request.url)} answered {response.status}, a redirect; they are "
        "not followed, so register the address that is meant",
        error_class=ErrorClass.PERMANENT,
        location=where,
    )


def _clean(response: http.Response, redaction: Redaction) -> http.Response:
    """The answer without secrets, also those of others that it may hold; before it is judged."""
    body = response.body
    if response.truncated and isinstance(body, str):
        body = redaction.cut_text(body)
    headers = {name: redaction.text(value) for name, value in response.headers.items()}
    return replace(response, body=redaction.value(body), headers=headers)


def _called(response: http.Response, *, attempts: int, began: float) -> Called:
    body, is_cut = storable_without_secrets(response.body, max_bytes=MOST_ANSWER_BYTES)
    return Called(
        status=response.status,
        body=body,
        truncated=response.truncated or is_cut,
        attempts=attempts,
        duration_ms=round((time.monotonic() - began) * 1000),
    )


def _note(request: http.Request, endpoint: Snapshot, *, began: float, what: str) -> None:
    """One line per try, without query, headers and bodies: they may hold secrets."""
    logger.info(
        "%s %s (endpoint %r, request %s) after %s ms: %s",
        *(request.method, shown(request.url), endpoint.name, request.headers["X-Request-ID"]),
        *(round((time.monotonic() - began) * 1000), what),
    )


def _unfit(message: str) -> HandlerError:
    return HandlerError(message, error_class=ErrorClass.PERMANENT, may_repeat=True)
