"""Where a secret may travel with a step's call: the hosts that a credential names, and no other.

Whoever registers an endpoint says where it leads, so a secret of everybody that went anywhere would
be a secret of nobody. Judged is the very host and port that the connection is made to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Final

from agents_app.clients.outgoing import Target

MOST_HOSTS: Final = 50
ANY_BELOW: Final = "*."
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_BELOW: Final = re.compile(rf"(?=.{{1,253}}$)\*\.{_LABEL}(?:\.{_LABEL})+")
_ENTRY: Final = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?"
)
_KEPT: Final = re.compile(r"(?P<host>\[[^\]]+\]|[^:]+)(?::(?P<port>\d{1,5}))?")


def checked(entries: Iterable[str]) -> list[str]:
    """The entries as they are kept: in lower case, each once; raises ValueError.

    An entry is a host name, an address (IPv6 in brackets) or `*.example.com`, which stands for all
    names below it and not for itself; each with an optional `:port`.
    """
    return list(dict.fromkeys(_checked(one) for one in entries))


def _checked(entry: str) -> str:
    found = _ENTRY.fullmatch(entry.strip().lower())
    if found is None:
        raise ValueError(f"{entry!r} is no host: write it as api.example.com or host:8443")
    port = found["port"]
    if port is not None and not 1 <= int(port) <= 65_535:
        raise ValueError(f"{entry!r} names no port that there is")
    ending = "" if port is None else f":{int(port)}"
    return _host(found["v6"] or found["name"].removesuffix("."), entry) + ending


def _host(host: str, entry: str) -> str:
    if (address := _address(host)) is not None:
        return address
    if host.startswith(ANY_BELOW) and not _BELOW.fullmatch(host):
        raise ValueError(f"{entry!r} would stand for too much: write it as *.example.com")
    if not (_BELOW if host.startswith(ANY_BELOW) else _NAME).fullmatch(host):
        raise ValueError(
            f"{entry!r} is no host: write it as api.example.com or *.example.com, names of other "
            "alphabets in their xn-- form"
        )
    return host


def _address(host: str) -> str | None:
    """An address as it is written once and for all; None for a name."""
    try:
        parsed = ip_address(host)
    except ValueError:
        return None
    return f"[{parsed}]" if parsed.version == 6 else str(parsed)


def admits(entries: Sequence[str], at: Target) -> bool:
    """Whether one of these, as `checked` keeps them, names where this request goes."""
    host = at.host.lower().rstrip(".")
    host = _address(host) or host
    return any(_covers(entry, host=host, port=at.port) for entry in entries)


def _covers(entry: str, *, host: str, port: int) -> bool:
    kept = _KEPT.fullmatch(entry)
    if kept is None or (kept["port"] and int(kept["port"]) != port):
        return False
    name = kept["host"]
    return host.endswith(name[1:]) if name.startswith(ANY_BELOW) else host == name


def problem(entries: Sequence[str], at: Target, *, is_shared: bool) -> str:
    """Why a credential of these hosts must not go there; empty: it may.

    One without hosts goes anywhere: an owner's own, and a shared one from before they were needed.
    """
    if not entries or admits(entries, at):
        return ""
    who = "an operator" if is_shared else "its owner"
    return (
        f"it is bound to {', '.join(entries)} and may not travel to {at.host}:{at.port}; "
        f"{who} can add that host to it"
    )
