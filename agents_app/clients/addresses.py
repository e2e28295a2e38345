"""Decides which network addresses an execution may reach, before any connection is made.

Public addresses may be reached by all, private ones only if the setting OUTBOUND_ALLOW names
them. The judgement falls on the resolved address and the connection goes to that very address: a
name that answers differently the second time gains nothing (OWASP, SSRF Prevention Cheat Sheet).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self

from requests_hardened.ip_filter import InvalidIPAddress, filter_host

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Old notations that carry an IPv4 address or a site's own, and that ipaddress holds for public.
ALSO_PRIVATE: Final = (ip_network("::/96"), ip_network("fec0::/10"))
MOST_JUDGED: Final = 4096
_HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
_ENTRY: Final = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry of the allow-list: a host name or a network, at one port or at all."""

    host: str | None
    network: Network | None
    port: int | None

    @classmethod
    def parse(cls, entry: str) -> Self:
        """Read `host`, `address` or `CIDR`, each with an optional `:port`; IPv6 then in brackets.

        Raises ValueError for anything else.
        """
        match = _ENTRY.fullmatch(entry.strip())
        # Without brackets, more than one colon means an IPv6 address or network.
        target = (match["v6"] or match["name"] if match else entry).strip().lower().rstrip(".")
        port = int(match["port"]) if match and match["port"] else None
        try:
            return cls(None, ip_network(target, strict=False), port)
        except ValueError:
            if "/" in target or not _HOST_NAME.fullmatch(target):
                raise ValueError(
                    f"OUTBOUND_ALLOW: {entry!r} is neither a host name nor an address nor a CIDR"
                ) from None
        return cls(target, None, port)

    def covers(self, address: Address, *, host: str, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address.version == self.network.version and address in self.network
        return self.host == host


class AllowList:
    """What OUTBOUND_ALLOW names, beside every public address."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._entries = tuple(Allowed.parse(entry) for entry in entries)
        # The same literal, host and port get the same judgement for ever: remembered, not repeated.
        self._judged = lru_cache(MOST_JUDGED)(self._judge)

    def admits(self, address: str, *, host: str, port: int) -> bool:
        """Whether `address` (literal), to which `host` resolved, may be connected to at `port`."""
        return self._judged(address, host, port)

    def _judge(self, address: str, host: str, port: int) -> bool:
        parsed = ip_address(address)
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        name = host.lower().rstrip(".")
        if any(entry.covers(parsed, host=name, port=port) for entry in self._entries):
            return True
        return _is_public(parsed, port=port)


def _is_public(address: Address, *, port: int) -> bool:
    if any(address in network for network in ALSO_PRIVATE if address.version == network.version):
        return False
    try:
        filter_host(str(address), port, allow_loopback=False)
    except InvalidIPAddress:
        return False
    return True
