"""Carries out `http_request`: one call of one endpoint, judged by its status."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from agents_app.clients import http
from agents_app.clients.outgoing import checked_url, shown
from agents_app.clients.redirects import MOST_REDIRECTS
from agents_app.handlers.base import Context, Handler, Outcome
from errors_app.taxonomy import ErrorClass, HandlerError

WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})
# RFC 9110, 9.2.2; GET and the like are safe, and so they are idempotent.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
MOST_SHOWN_OF_BODY: Final = 2_000

Scalar = str | int | float | bool
Status = Annotated[int, Field(ge=100, le=599)]


class HttpRequestConfig(BaseModel):
    """`json` or `body`, not both; without either, the execution's parameters are sent.

    `expected_status`: the statuses that count as success, instead of 200 to 399.
    `circuit_breaker`: off, the call is made whatever others show, and shows nothing to others.
    `idempotent`: whether carrying it out twice does no more than once; unless given, the method
    says so. What is not, is tried again only if it surely was not carried out. Written as false,
    it holds for a lost worker as well (`recovery.must_not_repeat`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    url: Annotated[str, Field(max_length=8192), AfterValidator(checked_url)]
    headers: Annotated[
        dict[str, str], Field(max_length=50), AfterValidator(http.checked_headers)
    ] = {}
    params: dict[str, Scalar | list[Scalar]] = {}
    json_body: Annotated[JsonValue, Field(alias="json")] = None
    body: str | None = None
    timeout_ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = None
    expected_status: Annotated[list[Status], Field(min_length=1)] | None = None
    follow_redirects: bool = True
    circuit_breaker: bool = True
    idempotent: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _method_in_upper_case(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("method"), str):
            return {**given, "method": given["method"].upper()}
        return given

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.body is not None and self.json_body is not None:
            raise ValueError("Give json or body, not both")
        return self

    @property
    def is_idempotent(self) -> bool:
        return self.method in IDEMPOTENT if self.idempotent is None else self.idempotent

    def is_success(self, status: int) -> bool:
        if self.expected_status is not None:
            return status in self.expected_status
        return 200 <= status <= 399


class HttpRequest(Handler[HttpRequestConfig]):
    """Calls an endpoint; every attempt of an execution carries the same Idempotency-Key."""

    config_model = HttpRequestConfig
    nature = "io"

    def __init__(self, door: http.Door | None = None) -> None:
        self._door = door

    def run(self, context: Context[HttpRequestConfig]) -> Outcome:
        """Make the call; raises HandlerError for a status that is no success."""
        config = context.config
        seconds = (context.deadline - datetime.now(UTC)).total_seconds()
        if config.timeout_ms is not None:
            seconds = min(seconds, config.timeout_ms / 1000)
        door = self._door or http.door()
        response = door.fetch(_request(context), timeout=seconds, check=context.check)
        if not config.is_success(response.status):
            raise _refused(config, response)
        # Made of parsed JSON and text only: to validate it as JSON would say nothing new.
        return Outcome.model_construct(output=response.as_json(), detail="ok")


def _request(context: Context[HttpRequestConfig]) -> http.Request:
    config = context.config
    parameters = dict(context.parameters)
    has_own_body = config.body is not None or config.json_body is not None
    sends_body = config.method in WITH_BODY
    body = parameters if sends_body and parameters and not has_own_body else config.json_body
    return http.Request(
        method=config.method,
        url=config.url,
        headers=_identity(context) | config.headers,
        params=_query(config.params if sends_body else {**config.params, **parameters}),
        json=body,
        body=config.body.encode() if config.body is not None else None,
        max_redirects=MOST_REDIRECTS if config.follow_redirects else 0,
        breaker="" if config.circuit_breaker else None,
        expected=frozenset(config.expected_status or ()),
        is_idempotent=config.is_idempotent,
    )


def _query(params: dict[str, Any]) -> dict[str, str | list[str]]:
    return {
        name: [_query_text(one) for one in value] if isinstance(value, list) else _query_text(value)
        for name, value in params.items()
    }


def _query_text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _identity(context: Context[HttpRequestConfig]) -> dict[str, str]:
    correlation_id = str(getattr(context, "correlation_id", ""))
    is_sendable = re.fullmatch(r"[\x21-\x7e]{1,200}", correlation_id)
    return {
        "Accept": "*/*",
        "Idempotency-Key": str(context.execution_id),
        "X-Cadenza-Attempt": str(context.attempt),
        "X-Request-ID": correlation_id if is_sendable else str(context.execution_id),
    }


def _refused(config: HttpRequestConfig, response: http.Response) -> HandlerError:
    is_transient = response.status in WORTH_ANOTHER_TRY or response.status >= 500
    kept = response.as_json()
    kept["body"] = str(response.body)[:MOST_SHOWN_OF_BODY]
    wait = retry_after(response.headers.get("retry-after", ""), now=datetime.now(UTC))
    return HandlerError(
        f"{config.method} {shown(config.url)} answered {response.status}",
        error_class=ErrorClass.TRANSIENT if is_transient else ErrorClass.PERMANENT,
        retry_after=wait,
        may_repeat=None if config.is_idempotent else _was_refused(response, wait),
        response=kept,
    )


def _was_refused(response: http.Response, wait: float | None) -> bool:
    """Whether the endpoint says that it has not carried the request out: 4xx, or "come again".

    After a redirect that is the word of another address; the first may have carried it out.
    """
    is_refusal = 400 <= response.status < 500 or (response.status == 503 and wait is not None)
    return is_refusal and not response.was_redirected


def retry_after(value: str, *, now: datetime) -> float | None:
    """Seconds to wait that a Retry-After header asks for (RFC 9110, 10.2.3); None if unreadable."""
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())
