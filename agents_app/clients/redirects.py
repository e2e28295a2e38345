"""What an execution's HTTP call becomes when its endpoint points elsewhere (RFC 9110, 15.4)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin

from agents_app.clients.outgoing import Outgoing, target

MOST_REDIRECTS: Final = 3
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
BODY_HEADERS: Final = frozenset({"content-length", "content-type", "transfer-encoding"})
# Anything else that a caller added may be a credential under a name of its own.
HARMLESS_HEADERS: Final = frozenset(
    (
        *("accept", "accept-encoding", "accept-language", "content-length", "content-type"),
        *("idempotency-key", "user-agent", "x-cadenza-attempt", "x-request-id"),
    )
)


def next_request(request: Outgoing, *, status: int, location: str) -> Outgoing | None:
    """The request to send next, or None if the answer is no redirect.

    Another scheme, host or port gets no credentials. As browsers do, 303 (and 301, 302 after a
    POST) turns into a GET without a body. Raises ValueError if no call can go there.
    """
    if status not in REDIRECTS or not location:
        return None
    # http.client reads headers as Latin-1, servers write them as UTF-8.
    spelled = location.encode("latin-1", "replace").decode(errors="replace")
    following = target(urljoin(request.target.url, spelled))
    method, headers, body = request.method, dict(request.headers), request.body
    if _becomes_get(method, status):
        method, body = "GET", None
        headers = {name: headers[name] for name in headers if name.lower() not in BODY_HEADERS}
    if request.target.origin != following.origin:
        headers = {name: headers[name] for name in headers if name.lower() in HARMLESS_HEADERS}
    return Outgoing(
        method=method,
        target=following,
        headers=headers,
        body=body,
        is_idempotent=request.is_idempotent,
    )


def _becomes_get(method: str, status: int) -> bool:
    if status == 303:
        return method != "HEAD"
    return status in {301, 302} and method == "POST"
