"""The sockets under the one HTTP door: pinned to a checked address, and always interruptible.

urllib3 limits each single wait, so a peer that sends one byte a second is waited for without end.
Here every wait is cut into slices, and between two slices `Patience` says whether the call may go
on: its deadline, its byte limit, and whoever wants it stopped.
"""

from __future__ import annotations

import errno
import http.client
import io
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import urlsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.wait import wait_for_write

from agents_app.clients.addresses import AllowList
from errors_app.taxonomy import ErrorClass, HandlerError

SLICE_SECONDS: Final = 0.5
CONNECT_SECONDS: Final = 10.0
# Below the 5 s after which common servers close an idle connection: it would die under a request.
IDLE_SECONDS: Final = 4.0
MOST_IDLE_CONNECTIONS: Final = 1024
MOST_HOSTS: Final = 256
LOOKUPS_AT_ONCE: Final = 64
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Patience:
    """How long one call may still take and how much it may still read.

    `is_untouched`: since the last sending no connection was made and no byte was read.
    """

    def __init__(self, *, timeout: float, max_bytes: int, check: Callable[[], None]) -> None:
        self._timeout = timeout
        self._ends = time.monotonic() + timeout
        self._bytes_left = max_bytes
        self._check = check
        self.is_untouched = True

    def seconds(self, at_most: float = SLICE_SECONDS) -> float:
        """The next wait; raises what `check` raises, and a timeout once the time is over."""
        self._check()
        left = self._ends - time.monotonic()
        if left <= 0:
            raise HandlerError(
                f"The call did not end within its {self._timeout:g} s; "
                "raise its time limit or make the endpoint faster",
                error_class=ErrorClass.TIMEOUT,
            )
        return min(left, at_most)

    def count(self, size: int) -> None:
        """Note `size` bytes read from the wire; raises when they are too many."""
        self.is_untouched &= size == 0
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise HandlerError(
                "The answer was given up: its headers or its transfer coding have no end",
                error_class=ErrorClass.MALFORMED,
            )


patience: ContextVar[Patience] = ContextVar("patience")


class _PatientReader(io.RawIOBase):
    """Reads a socket in slices for the call of the thread that reads."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        # A file made of a socket keeps it open until the file is closed, as http.client expects.
        self._hold = sock.makefile("rb", buffering=0)
        self._patience = patience.get()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._socket.settimeout(self._patience.seconds())
            try:
                size = self._socket.recv_into(buffer)
            except TimeoutError:
                continue
            self._patience.count(size)
            return size

    def close(self) -> None:
        self._hold.close()
        super().close()


class _PatientFiles:
    """Stands for a socket where http.client only wants a file of it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode
        return io.BufferedReader(_PatientReader(self._socket), 64 * 1024)


class _PatientAnswer(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_PatientFiles(sock), *args, **kwargs)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    """Connects in slices, and does not trust a connection that has been idle for long."""

    response_class = _PatientAnswer
    _used_at = float("-inf")

    @override
    def _new_conn(self) -> socket.socket:
        patience.get().is_untouched = False
        family = socket.AF_INET6 if ":" in self._dns_host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connect_patiently(sock)
            # Holds for a TLS handshake and for sending the request, each as a whole.
            sock.settimeout(patience.get().seconds(at_most=CONNECT_SECONDS))
        except BaseException:
            sock.close()
            raise
        return sock

    def _connect_patiently(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        number = sock.connect_ex((self._dns_host, self.port))
        gives_up_at = time.monotonic() + CONNECT_SECONDS
        while number == errno.EINPROGRESS:
            if wait_for_write(sock, patience.get().seconds()):
                number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            elif time.monotonic() >= gives_up_at:
                raise ConnectTimeoutError(self, f"no answer within {CONNECT_SECONDS:g} s")
        if number:
            raise NewConnectionError(self, os.strerror(number))

    @property
    def is_connected(self) -> bool:
        return time.monotonic() - self._used_at < IDLE_SECONDS and super().is_connected

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._used_at = time.monotonic()
        return response


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class PinningAdapter(HTTPAdapter):
    """Sends a prepared request to the address its host was checked at. Used by many threads."""

    def __init__(self, allowed: AllowList) -> None:
        super().__init__(pool_connections=MOST_HOSTS, pool_maxsize=MOST_IDLE_CONNECTIONS)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        self._allowed = allowed
        self._lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="lookup")
        # The system's authorities, so that a site's own count, and certifi's where it has none.
        self._tls = ssl.create_default_context()
        self._tls.load_verify_locations(certifi.where())

    @override
    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Send once; again if a kept connection turns out to have been closed (RFC 9112, 9.3.1)."""
        call = patience.get()
        call.is_untouched = True
        try:
            return super().send(request, *args, **kwargs)
        except requests.ConnectionError:
            if not call.is_untouched or request.method not in IDEMPOTENT:
                raise
        return super().send(request, *args, **kwargs)

    @override
    def build_connection_pool_key_attributes(  # type: ignore[override]  # its names are private
        self, request: requests.PreparedRequest, verify: bool | str, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        url = urlsplit(str(request.url))
        host, scheme = url.hostname or "", url.scheme
        port = url.port or DEFAULT_PORTS[scheme]
        request.headers["Host"] = url.netloc.rpartition("@")[2]
        pinned = {"scheme": scheme, "host": self._checked_address(host, port=port), "port": port}
        if scheme == "http":
            return pinned, {}
        return pinned, {"ssl_context": self._tls, "server_hostname": host.rstrip(".")}

    @override
    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Always verify, by the shared context: reading all authorities per connection is slow."""
        conn.cert_reqs = "CERT_REQUIRED"

    def close(self) -> None:
        super().close()
        self._lookups.shutdown(wait=False)

    def _checked_address(self, host: str, *, port: int) -> str:
        address = self._lookup(host, port=port)
        if not self._allowed.admits(address, host=host, port=port):
            raise HandlerError(
                f"{host!r} is a private address, which may not be called; "
                "an administrator can allow it in OUTBOUND_ALLOW",
                error_class=ErrorClass.PERMANENT,
                host=host,
                port=port,
            )
        return address

    def _lookup(self, host: str, *, port: int) -> str:
        """The address of `host`, IPv4 before IPv6; a resolver that hangs is not waited for."""
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            pass
        lookup = self._lookups.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        while not lookup.done():
            wait([lookup], timeout=patience.get().seconds())
        try:
            found = lookup.result()
        except (OSError, UnicodeError) as error:
            raise HandlerError(
                f"The host name {host!r} could not be resolved: {error}",
                error_class=ErrorClass.TRANSIENT,
                host=host,
            ) from None
        return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])
