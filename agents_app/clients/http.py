"""The only door to the network: every HTTP call of an execution leaves through `Door.fetch`.

A call ends by its deadline whatever the peer does, keeps at most so many bytes of the answer, goes
only where `addresses` allows, follows at most three redirects under the same rules, and fails with
a HandlerError that says whether another try may help. An answer of any status is a result here.
Each origin on the way is asked for by its breaker: one that fails is left alone for a while.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Self

import urllib3.exceptions
from pydantic import JsonValue
from urllib3 import BaseHTTPResponse, HTTPHeaderDict

from agents_app.clients.addresses import AllowList
from agents_app.clients.answers import Response as Response
from agents_app.clients.answers import shown_headers, understood
from agents_app.clients.failures import typed
from agents_app.clients.outgoing import Outgoing, Query, checked_url, logged, shown, target
from agents_app.clients.patience import Patience, patience
from agents_app.clients.redirects import MOST_REDIRECTS, next_request
from agents_app.clients.transport import PinnedConnections
from config.env import env
from errors_app.breakers import local
from errors_app.breakers.local import Breakers, Call
from errors_app.taxonomy import ErrorClass, HandlerError, JobExecutionError
from executions_app.states import SchedulerException

DEFAULT_HEADERS: Final = {"User-Agent": "Cadenza", "Accept-Encoding": "gzip, deflate"}
# What is read beside the body: headers, the transfer coding, a compressed body that hardly shrank.
WIRE_MARGIN_BYTES: Final = 1024 * 1024
SHORT_BODY_BYTES: Final = 16 * 1024

logger = logging.getLogger(__name__)

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"(?:[\x21-\x7e\xa0-\xff][\t\x20-\x7e\xa0-\xff]{0,8191})?")
# These steer the connection and not the request; a caller who sets them can smuggle another one.
_OURS: Final = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "accept-encoding", "expect"),
        *("connection", "keep-alive", "te", "trailer", "upgrade"),
        *("proxy-connection", "proxy-authorization"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call; `json` is sent as JSON if `body` is None and it is not None.

    `breaker`: the key of the endpoint's own breaker; empty: each origin's, None: none is asked.
    `expected`: statuses from 500 on that say nothing against the endpoint. `is_idempotent`: False
    if it must not be carried out twice; then a failure says in `may_repeat` whether it may have
    been carried out once. `failure_level`: of the line in the log, if it fails.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str | list[str]] = field(default_factory=dict)
    json: JsonValue = None
    body: bytes | None = None
    max_redirects: int = MOST_REDIRECTS
    breaker: str | None = ""
    expected: frozenset[int] = frozenset()
    is_idempotent: bool = True
    failure_level: int = logging.INFO


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as given; raises ValueError for one that breaks or steers the protocol."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"Header {name!r} has characters that HTTP does not allow")
        if name.lower() in _OURS:
            raise ValueError(f"Header {name!r} is set by Cadenza itself; leave it out")
    return dict(headers)


class _Unguarded:
    """A call that no breaker asks about."""

    def answered(self, status: int) -> None:
        del status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


UNGUARDED: Final = _Unguarded()
AnyCall = Call | _Unguarded
Answer = tuple[int, HTTPHeaderDict, bytes, bool]


class Door:
    """Calls endpoints over connections that are kept and shared by all threads of the process."""

    def __init__(self, outbound_allow: list[str], breakers: Breakers | None = None) -> None:
        self._connections = PinnedConnections(AllowList(outbound_allow))
        self._breakers = breakers

    def fetch(
        self,
        request: Request,
        *,
        timeout: float,
        check: Callable[[], None] = lambda: None,
        max_bytes: int = env.result_max_bytes,
    ) -> Response:
        """Make the call within `timeout` seconds and keep `max_bytes` of the body, unpacked.

        `check` is called at least once a second; what it raises ends the call. Raises
        HandlerError: transient (no connection, connection lost, breaker open), timeout, permanent
        (address refused, certificate, redirects), malformed (no HTTP).
        """
        began = time.monotonic()
        limit = Patience(timeout=timeout, max_bytes=2 * max_bytes + WIRE_MARGIN_BYTES, check=check)
        try:
            answer, was_redirected = self._within(
                limit, request, timeout=timeout, max_bytes=max_bytes
            )
        except SchedulerException as error:
            why = f"{type(error).__name__} {getattr(error, 'error_class', 'stopped')}"
            what = f"brought no answer ({why})"
            _note(request, what, level=request.failure_level, began=began)
            raise
        status, headers, body, is_truncated = answer
        level = logging.DEBUG if 200 <= status < 400 else request.failure_level
        elapsed_ms = _note(request, f"answered {status}", level=level, began=began)
        return Response(
            status=status,
            headers=shown_headers(headers),
            body=understood(body, headers, is_truncated=is_truncated),
            truncated=is_truncated,
            elapsed_ms=elapsed_ms,
            was_redirected=was_redirected,
        )

    def _within(
        self, limit: Patience, request: Request, *, timeout: float, max_bytes: int
    ) -> tuple[Answer, bool]:
        """As `_follow`; a failure says whether the request may have been carried out."""
        token = patience.set(limit)
        try:
            return self._follow(request, timeout=timeout, max_bytes=max_bytes)
        except JobExecutionError as error:
            if not request.is_idempotent:
                error.may_repeat = not limit.has_sent
            raise
        except MemoryError as error:
            if request.is_idempotent or not limit.has_sent:
                raise
            raise HandlerError(
                f"There was no memory for the answer of {shown(request.url)}",
                error_class=ErrorClass.RESOURCE,
                may_repeat=False,
            ) from error
        finally:
            patience.reset(token)

    def _follow(self, request: Request, *, timeout: float, max_bytes: int) -> tuple[Answer, bool]:
        """The answer, and whether another address than the one that was called gave it."""
        sent = _prepare(request)
        breaker = request.breaker
        for redirects_left in range(request.max_redirects, -1, -1):
            with self._guarded(sent, breaker, timeout=timeout, expected=request.expected) as call:
                answer = self._exchange(sent, call, request=request, max_bytes=max_bytes)
            if not isinstance(answer, Outgoing):
                return answer, redirects_left < request.max_redirects
            if redirects_left:
                sent, breaker = answer, None if breaker is None else ""
        raise HandlerError(
            f"{shown(sent.target.url)} redirected more than {request.max_redirects} times",
            error_class=ErrorClass.PERMANENT,
        )

    def _guarded(
        self, sent: Outgoing, breaker: str | None, *, timeout: float, expected: frozenset[int]
    ) -> AnyCall:
        if self._breakers is None or breaker is None:
            return UNGUARDED
        key = breaker or sent.target.origin_url
        return self._breakers.call(key, seconds=timeout, expected=expected)

    def _exchange(
        self, sent: Outgoing, call: AnyCall, *, request: Request, max_bytes: int
    ) -> Answer | Outgoing:
        """Send once and read the answer, or what to send next."""
        try:
            with closing(self._connections.send(sent)) as raw:
                call.answered(raw.status)
                following = _redirected(sent, raw) if request.max_redirects else None
                if following is None:
                    body = raw.read(max_bytes + 1, decode_content=True)
                    return raw.status, raw.headers, body[:max_bytes], len(body) > max_bytes
                raw.read(SHORT_BODY_BYTES)  # read to its end, the connection can be kept
                return following
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise typed(error, sent) from error

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connections.close()


@lru_cache(maxsize=1)
def _door_of_process(pid: int) -> Door:
    del pid
    return Door(env.outbound_allow, local.of_this_process())


def door() -> Door:
    """The door of this process; a forked child opens its own."""
    return _door_of_process(os.getpid())


def _note(request: Request, what: str, *, level: int, began: float) -> int:
    """One line per call, without query, headers, bodies and words of errors: they may hold secrets.

    What went well is told at DEBUG, since a line costs as much as the call of a fast endpoint.
    Answers how many milliseconds it took.
    """
    elapsed_ms = round((time.monotonic() - began) * 1000)
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "%s %s %s in %s ms (request %s)",
            *(request.method, logged(request.url), what, elapsed_ms),
            request.headers.get("X-Request-ID", "-"),
        )
    return elapsed_ms


def _prepare(request: Request) -> Outgoing:
    try:
        at = target(checked_url(request.url), _query(request.params))
        return Outgoing(
            method=request.method.upper(),
            target=at,
            headers=_headers(request, at.authorization),
            body=_body(request),
            is_idempotent=request.is_idempotent,
        )
    except ValueError as error:  # also the base of what requests raises here
        raise HandlerError(
            f"{request.method} {shown(request.url)} cannot be sent: {error}",
            error_class=ErrorClass.PERMANENT,
        ) from error


def _query(params: Mapping[str, str | list[str]]) -> Query:
    return tuple(
        (name, tuple(value) if isinstance(value, list) else (value,))
        for name, value in params.items()
    )


def _headers(request: Request, authorization: str) -> dict[str, str]:
    given = checked_headers(request.headers)
    if authorization:
        given["Authorization"] = authorization
    if request.body is None and request.json is not None:
        given = {"Content-Type": "application/json"} | given
    # Of two names that differ in case only, the later one counts.
    by_name = {name.lower(): (name, value) for name, value in (DEFAULT_HEADERS | given).items()}
    return dict(by_name.values())


def _body(request: Request) -> bytes | None:
    if request.body is None and request.json is not None:
        return json.dumps(request.json, allow_nan=False).encode()
    return request.body


def _redirected(request: Outgoing, answer: BaseHTTPResponse) -> Outgoing | None:
    try:
        location = answer.headers.get("Location", "")
        return next_request(request, status=answer.status, location=location)
    except ValueError as error:
        raise HandlerError(
            f"{shown(request.target.url)} redirected to where no call can go: {error}",
            error_class=ErrorClass.PERMANENT,
        ) from error
