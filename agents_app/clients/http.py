"""The only door to the network: every HTTP call of an execution leaves through `Door.fetch`.

A call ends by its deadline whatever the peer does, keeps at most so many bytes of the answer, goes
only where `addresses` allows, follows at most three redirects under the same rules, and fails with
a HandlerError that says whether another try may help. An answer of any status is a result here.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import urllib3.exceptions
from pydantic import JsonValue, TypeAdapter
from urllib3 import BaseHTTPResponse, HTTPHeaderDict

from agents_app.clients.addresses import AllowList
from agents_app.clients.outgoing import Outgoing, Query, checked_url, shown, target
from agents_app.clients.patience import Patience, patience
from agents_app.clients.redirects import MOST_REDIRECTS, next_request
from agents_app.clients.transport import PinnedConnections
from config.env import env
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.scrub import SCRUBBED, is_secret_name

DEFAULT_HEADERS: Final = {"User-Agent": "Cadenza", "Accept-Encoding": "gzip, deflate"}
MOST_HEADERS: Final = 50
MOST_HEADER_CHARACTERS: Final = 1024
# What is read beside the body: headers, the transfer coding, a compressed body that hardly shrank.
WIRE_MARGIN_BYTES: Final = 1024 * 1024
SHORT_BODY_BYTES: Final = 16 * 1024

JSON: Final[TypeAdapter[JsonValue]] = TypeAdapter(JsonValue)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"(?:[\x21-\x7e\xa0-\xff][\t\x20-\x7e\xa0-\xff]{0,8191})?")
_CHARSET: Final = re.compile(r"charset=[\"']?([\w.:-]{1,40})", re.IGNORECASE)
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
    """One call; `json` is sent as JSON if `body` is None and it is not None."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str | list[str]] = field(default_factory=dict)
    json: JsonValue = None
    body: bytes | None = None
    max_redirects: int = MOST_REDIRECTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back. `body` is JSON where the peer says so and it is, else text, else null."""

    status: int
    headers: dict[str, str]
    body: JsonValue
    truncated: bool
    elapsed_ms: int

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "status": self.status,
            "headers": {**self.headers},
            "body": self.body,
            "truncated": self.truncated,
            "elapsed_ms": self.elapsed_ms,
        }


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as given; raises ValueError for one that breaks or steers the protocol."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"Header {name!r} has characters that HTTP does not allow")
        if name.lower() in _OURS:
            raise ValueError(f"Header {name!r} is set by Cadenza itself; leave it out")
    return dict(headers)


class Door:
    """Calls endpoints over connections that are kept and shared by all threads of the process."""

    def __init__(self, outbound_allow: list[str]) -> None:
        self._connections = PinnedConnections(AllowList(outbound_allow))

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
        HandlerError: transient (no connection, connection lost), timeout, permanent (address
        refused, certificate, redirects), malformed (no HTTP).
        """
        began = time.monotonic()
        limit = Patience(timeout=timeout, max_bytes=2 * max_bytes + WIRE_MARGIN_BYTES, check=check)
        token = patience.set(limit)
        prepared = _prepare(request)
        try:
            status, headers, body, is_truncated = self._follow(
                prepared, max_redirects=request.max_redirects, max_bytes=max_bytes
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _typed(error, prepared) from error
        finally:
            patience.reset(token)
        return Response(
            status=status,
            headers=_shown_headers(headers),
            body=_understood(body, headers, is_truncated=is_truncated),
            truncated=is_truncated,
            elapsed_ms=round((time.monotonic() - began) * 1000),
        )

    def _follow(
        self, request: Outgoing, *, max_redirects: int, max_bytes: int
    ) -> tuple[int, HTTPHeaderDict, bytes, bool]:
        for redirects_left in range(max_redirects, -1, -1):
            with closing(self._connections.send(request)) as raw:
                following = _redirected(request, raw) if max_redirects else None
                if following is None:
                    body = raw.read(max_bytes + 1, decode_content=True)
                    return raw.status, raw.headers, body[:max_bytes], len(body) > max_bytes
                if redirects_left:
                    raw.read(SHORT_BODY_BYTES)  # read to its end, the connection can be kept
                    request = following
        raise HandlerError(
            f"{shown(request.target.url)} redirected more than {max_redirects} times",
            error_class=ErrorClass.PERMANENT,
        )

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connections.close()


@lru_cache(maxsize=1)
def _door_of_process(pid: int) -> Door:
    del pid
    return Door(env.outbound_allow)


def door() -> Door:
    """The door of this process; a forked child opens its own."""
    return _door_of_process(os.getpid())


def _prepare(request: Request) -> Outgoing:
    try:
        at = target(checked_url(request.url), _query(request.params))
        return Outgoing(
            method=request.method.upper(),
            target=at,
            headers=_headers(request, at.authorization),
            body=_body(request),
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


def _typed(error: BaseException, request: Outgoing) -> HandlerError:
    """The failure of a call in our own words: the library's hold object addresses and secrets."""
    causes = _causes(error)
    error_class, reason = ErrorClass.TRANSIENT, "the connection was lost"
    for cause in causes:
        match cause:
            case ssl.SSLCertVerificationError():
                error_class, reason = ErrorClass.PERMANENT, cause.verify_message
            case ssl.SSLError():
                reason = f"no TLS connection: {cause.reason}"
            case urllib3.exceptions.DecodeError():
                error_class, reason = ErrorClass.MALFORMED, "the body is not in its stated coding"
            case http.client.RemoteDisconnected() | http.client.IncompleteRead():
                reason = "the connection was closed before the answer was complete"
            case http.client.HTTPException() | urllib3.exceptions.InvalidHeader():
                error_class, reason = ErrorClass.MALFORMED, "the answer is no valid HTTP"
            case urllib3.exceptions.NewConnectionError():
                reason = "no connection: " + str(cause).rpartition(": ")[2]
            case urllib3.exceptions.ConnectTimeoutError() | urllib3.exceptions.ReadTimeoutError():
                reason = "no connection was made in time"
            case ConnectionResetError():
                reason = "the connection was reset"
            case _:
                continue
        break
    return HandlerError(
        f"{request.method} {shown(request.target.url)} failed: {reason}", error_class=error_class
    )


def _causes(error: BaseException) -> list[BaseException]:
    """The errors from which this one was made, the innermost first."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(found) < 20:
        one = queue.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            queue += [getattr(one, "reason", None), one.__cause__, one.__context__, *one.args]
    return found[::-1]


# Endpoints answer with the same few names.
_is_secret: Final = lru_cache(maxsize=512)(is_secret_name)


def _shown_headers(headers: HTTPHeaderDict) -> dict[str, str]:
    return {
        name.lower(): SCRUBBED if _is_secret(name) else value[:MOST_HEADER_CHARACTERS]
        for name, value in list(headers.items())[:MOST_HEADERS]
    }


def _understood(body: bytes, headers: HTTPHeaderDict, *, is_truncated: bool) -> JsonValue:
    if not body:
        return None
    content_type = headers.get("content-type", "")
    if "json" in content_type.lower() and not is_truncated:
        try:
            return JSON.validate_json(body)
        except ValueError:
            pass  # or nested beyond what pydantic takes: kept as text
    charset = _CHARSET.search(content_type)
    try:
        return body.decode(charset[1] if charset else "utf-8", errors="replace")
    except LookupError:
        return body.decode(errors="replace")
