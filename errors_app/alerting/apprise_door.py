"""The one door to Apprise, which carries notices about executions to where people are.

It reaches whatever host a URL names, so URLs are the operators'. What it says about a failure comes
through its logger: the words of this thread are caught, and every part of the URL is struck out.
Apprise is imported with the first URL: with its plugins that is most of a second of CPU time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final
from urllib.parse import unquote

from executions_app.scrub import scrub, storable_text

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
MOST_REASON: Final = 500
SHORTEST_SECRET: Final = 3
KINDS: Final = {"fired": "failure", "resolved": "success", "test": "info"}


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not delivered."""

    reason: str


class _Words(logging.Handler):
    """What Apprise says, kept apart by thread."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self._own = threading.local()

    @contextmanager
    def caught(self) -> Iterator[list[str]]:
        said: list[str] = []
        self._own.said = said
        try:
            yield said
        finally:
            self._own.said = None

    def emit(self, record: logging.LogRecord) -> None:
        said = getattr(self._own, "said", None)
        if said is not None:
            said.append(record.getMessage())


_words = _Words()


def scheme(url: str) -> str | None:
    """The scheme of a URL that Apprise can carry notices to; None for anything else."""
    with _words.caught():
        try:
            plugin = _plugin(url)
        except Exception:  # noqa: BLE001  whatever a plugin makes of foreign words
            return None
    return None if plugin is None else url.partition(":")[0].lower()


def send(url: str, *, title: str, body: str, event: str) -> Refused | None:
    """Deliver one notice; answers why not, or None. Takes as long as its timeouts let it."""
    with _words.caught() as said:
        try:
            plugin = _plugin(url)
            if plugin is None:
                return Refused("its URL cannot be used")
            is_sent = plugin.notify(title=title, body=body, notify_type=KINDS[event])
        except Exception as error:  # noqa: BLE001  a plugin may raise anything
            return Refused(without_secrets(f"{type(error).__name__}: {error}", url))
    if is_sent:
        return None
    return Refused(without_secrets("; ".join(said) or "the service did not take it", url))


def without_secrets(text: str, url: str) -> str:
    """A reason in which nothing of the URL stands but a host that looks like one."""
    shown = scrub(text)
    for part in sorted(_parts(url), key=len, reverse=True):
        shown = shown.replace(part, "***")
    return storable_text(shown)[:MOST_REASON]


def _parts(url: str) -> set[str]:
    """The pieces of a URL that may be secret, as they stand and decoded."""
    _, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    login, _, location = address.rpartition("@")
    host, _, path = location.partition("/")
    pieces = [url, rest, *login.split(":"), path, *path.split("/")]
    pieces += [one.partition("=")[2] for one in query.split("&")]
    name = host.partition(":")[0]
    is_a_host = "." in name or name == "localhost"  # some services have a token in its place
    found = {one for piece in (*pieces, name) for one in (piece, unquote(piece))}
    shown = {name} if is_a_host else set()
    return {one for one in found - shown if len(one) >= SHORTEST_SECRET}


def _plugin(url: str) -> Any:
    plugin = _apprise().Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
    if plugin is not None:
        plugin.socket_connect_timeout = CONNECT_SECONDS
        plugin.socket_read_timeout = READ_SECONDS
    return plugin


@cache
def _apprise() -> Any:
    module = import_module("apprise")
    talk = logging.getLogger("apprise")
    talk.propagate = False  # at DEBUG it repeats what it sends, and where
    talk.setLevel(logging.WARNING)
    talk.handlers[:] = [_words]
    return module


@cache
def _asset() -> Any:
    return _apprise().AppriseAsset(
        app_id="Cadenza", app_desc="Cadenza", async_mode=False, secure_logging=True
    )
