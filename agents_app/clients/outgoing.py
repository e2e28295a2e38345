"""What an execution's HTTP call puts on the wire: where it goes, which headers, which bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
MOST_TARGETS: Final = 512

Query = tuple[tuple[str, tuple[str, ...]], ...]
_KEY: Final = re.compile(
    r"(?![0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$)(?=.*\d)(?=.*[A-Za-z])[\w:.~-]{20,}"
)
_UNENCODED: Final = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL taken apart; `authorization` is what its user and password ask for, else empty."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    host_header: str
    authorization: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def origin_url(self) -> str:
        """The origin as one word, in which names that mean the same host are the same."""
        host = f"[{self.host}]" if ":" in self.host else self.host.rstrip(".")
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request as it is sent; no two names in `headers` differ in case only.

    `is_idempotent`: False if its caller says that it must not be carried out twice.
    """

    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes | None
    is_idempotent: bool = True


def checked_url(url: str) -> str:
    """The URL as given; raises ValueError unless it is an absolute http or https one."""
    if _UNENCODED.search(url):
        raise ValueError("The URL has spaces or control characters; encode them")
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError("The URL must begin with http:// or https:// and name a host")
    if parts.port == 0:
        raise ValueError("The URL must not name port 0")
    return url


def shown(url: str) -> str:
    """The URL without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def logged(url: str) -> str:
    """The same for a log: without what looks like a key in its path, as webhooks have it."""
    return "/".join("***" if _KEY.fullmatch(one) else one for one in shown(url).split("/"))


@lru_cache(maxsize=MOST_TARGETS)
def target(url: str, query: Query = ()) -> Target:
    """The URL with `query` added, encoded as requests does it; raises ValueError as `checked_url`.

    Remembered, since schedules call the same endpoints over and over. What a host resolves to is
    no part of it.
    """
    # Prepared without a session: nothing of the environment, of .netrc or of earlier cookies.
    prepared = PreparedRequest()
    prepared.headers = CaseInsensitiveDict()
    prepared.prepare_url(url, query)
    encoded = checked_url(str(prepared.url))
    prepared.prepare_auth(None, encoded)
    parts = urlsplit(encoded)
    return Target(
        url=encoded,
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        path=prepared.path_url,
        host_header=parts.netloc.rpartition("@")[2],
        authorization=str(prepared.headers.get("Authorization", "")),
    )
