"""The sockets under the one HTTP door: pinned to a checked address, and always interruptible.

urllib3 limits each single wait, so a peer that sends one byte a second is waited for without end.
Here every wait is cut into slices, and between two slices `Patience` says whether the call may go
on: its deadline, its byte limit, and whoever wants it stopped.
"""

from __future__ import annotations

import errno
import http.client
import io
import os
import socket
import ssl
import threading
import time
from typing import Any, Final

import certifi
from typing_extensions import override
from urllib3 import BaseHTTPResponse, PoolManager, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.util.wait import wait_for_write

from agents_app.clients.addresses import AllowList
from agents_app.clients.lookups import Lookups
from agents_app.clients.outgoing import Outgoing, Target
from agents_app.clients.patience import patience
from errors_app.taxonomy import ErrorClass, HandlerError

CONNECT_SECONDS: Final = 10.0
# Below the 5 s after which common servers close an idle connection: it would die under a request.
IDLE_SECONDS: Final = 4.0
MOST_IDLE_CONNECTIONS: Final = 1024
MOST_HOSTS: Final = 256
BUFFER_BYTES: Final = 16 * 1024
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
NO_RETRIES: Final = Retry(0, read=False)


def _wait_at_most(sock: socket.socket, seconds: float) -> None:
    if sock.gettimeout() != seconds:
        sock.settimeout(seconds)


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
            _wait_at_most(self._socket, self._patience.seconds())
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
        return io.BufferedReader(_PatientReader(self._socket), BUFFER_BYTES)


class _PatientAnswer(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_PatientFiles(sock), *args, **kwargs)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    """Connects and sends in slices, and does not trust a connection that was idle for long."""

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
            # Holds for a TLS handshake as a whole.
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

    @override
    def send(self, data: Any) -> None:
        """Send all of `data`, bytes; a peer that reads nothing is left when the call has to end."""
        if self.sock is None:
            self.connect()
        left = memoryview(data)
        patience.get().has_sent = True
        while left:
            _wait_at_most(self.sock, patience.get().seconds())
            try:
                left = left[self.sock.send(left) :]
            except TimeoutError:
                continue

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


class PinnedConnections:
    """Sends a request to the address its host was checked at. Used by many threads."""

    def __init__(self, allowed: AllowList) -> None:
        self._pools = PoolManager(MOST_HOSTS, maxsize=MOST_IDLE_CONNECTIONS, timeout=None)
        self._pools.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        self._allowed = allowed
        self._lookups = Lookups()
        self._authorities: ssl.SSLContext | None = None
        self._guard = threading.Lock()

    def send(self, request: Outgoing) -> BaseHTTPResponse:
        """Send once; again if a kept connection turns out to have been closed (RFC 9112, 9.3.1).

        The body of the answer is still to be read.
        """
        call = patience.get()
        call.is_untouched = True
        try:
            return self._send_once(request)
        except HTTPError:
            may_repeat = request.is_idempotent and request.method in IDEMPOTENT
            if not call.is_untouched or not may_repeat:
                raise
        return self._send_once(request)

    def _send_once(self, request: Outgoing) -> BaseHTTPResponse:
        return self._pool(request.target).urlopen(
            request.method,
            request.target.path,
            body=request.body,
            headers={"Host": request.target.host_header, **request.headers},
            retries=NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )

    def _pool(self, target: Target) -> HTTPConnectionPool:
        pinned: dict[str, Any] = {}
        if target.scheme == "https":
            pinned = {
                "ssl_context": self._tls(),
                "server_hostname": target.host.rstrip("."),
                "cert_reqs": "CERT_REQUIRED",
            }
        return self._pools.connection_from_host(
            self._checked_address(target.host, port=target.port),
            target.port,
            target.scheme,
            pool_kwargs=pinned,
        )

    def _tls(self) -> ssl.SSLContext:
        """The one context of all connections: reading the authorities is slow, so once if at all.

        The system's authorities, so that a site's own count, and certifi's where it has none.
        """
        with self._guard:  # many calls may be the first
            if self._authorities is None:
                context = ssl.create_default_context()
                context.load_verify_locations(certifi.where())
                self._authorities = context
            return self._authorities

    def _checked_address(self, host: str, *, port: int) -> str:
        address = self._lookups.address(host, port=port)
        if not self._allowed.admits(address, host=host, port=port):
            raise HandlerError(
                f"{host!r} is a private address, which may not be called; "
                "an administrator can allow it in OUTBOUND_ALLOW",
                error_class=ErrorClass.PERMANENT,
                host=host,
                port=port,
            )
        return address

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pools.clear()
        self._lookups.close()
