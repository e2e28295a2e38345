"""What an execution's HTTP call becomes when its endpoint points elsewhere (RFC 9110, 15.4)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin, urlsplit

import requests

MOST_REDIRECTS: Final = 3
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
BODY_HEADERS: Final = ("Content-Length", "Content-Type", "Transfer-Encoding")
# Anything else that a caller added may be a credential under a name of its own.
HARMLESS_HEADERS: Final = frozenset(
    (
        *("accept", "accept-encoding", "accept-language", "content-length", "content-type"),
        *("idempotency-key", "user-agent", "x-cadenza-attempt", "x-request-id"),
    )
)


def next_request(
    request: requests.PreparedRequest, response: requests.Response
) -> requests.PreparedRequest | None:
    """The request to send next, or None if the response is no redirect.

    Another scheme, host or port gets no credentials. As browsers do, 303 (and 301, 302 after a
    POST) turns into a GET without a body.
    """
    location = response.headers.get("Location")
    if response.status_code not in REDIRECTS or not location:
        return None
    following = request.copy()
    here = str(request.url)
    # http.client reads headers as Latin-1, servers write them as UTF-8.
    target = urljoin(here, location.encode("latin-1", "replace").decode(errors="replace"))
    following.prepare_url(target, params=None)
    following.headers.pop("Host", None)
    if _becomes_get(str(request.method), response.status_code):
        following.method, following.body = "GET", None
        for name in BODY_HEADERS:
            following.headers.pop(name, None)
    if _origin(here) != _origin(str(following.url)):
        for name in [one for one in following.headers if one.lower() not in HARMLESS_HEADERS]:
            del following.headers[name]
    return following


def _becomes_get(method: str, status: int) -> bool:
    if status == 303:
        return method != "HEAD"
    return status in {301, 302} and method == "POST"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
