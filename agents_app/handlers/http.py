"""Carries out `http_request`: one call of one endpoint, judged by its status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from agents_app.clients import http, statuses
from agents_app.clients.outgoing import checked_url
from agents_app.clients.redirects import MOST_REDIRECTS
from agents_app.handlers.base import Context, Handler, Outcome

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
        return self.method in statuses.IDEMPOTENT if self.idempotent is None else self.idempotent

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
        request = _request(context)
        response = door.fetch(request, timeout=seconds, check=context.check)
        if not config.is_success(response.status):
            raise statuses.refused(request, response)
        # Made of parsed JSON and text only: to validate it as JSON would say nothing new.
        return Outcome.model_construct(output=response.as_json(), detail="ok")


def _request(context: Context[HttpRequestConfig]) -> http.Request:
    config = context.config
    parameters = dict(context.parameters)
    has_own_body = config.body is not None or config.json_body is not None
    sends_body = config.method in statuses.WITH_BODY
    body = parameters if sends_body and parameters and not has_own_body else config.json_body
    return http.Request(
        method=config.method,
        url=config.url,
        headers=_identity(context) | config.headers,
        params=statuses.as_query(config.params if sends_body else {**config.params, **parameters}),
        json=body,
        body=config.body.encode() if config.body is not None else None,
        max_redirects=MOST_REDIRECTS if config.follow_redirects else 0,
        breaker="" if config.circuit_breaker else None,
        expected=frozenset(config.expected_status or ()),
        is_idempotent=config.is_idempotent,
    )


def _identity(context: Context[HttpRequestConfig]) -> dict[str, str]:
    return {
        "Accept": "*/*",
        "Idempotency-Key": str(context.execution_id),
        "X-Cadenza-Attempt": str(context.attempt),
        "X-Request-ID": statuses.request_id_of(context),
    }
