"""A server on loopback that answers each connection with whatever bytes the test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[socket.socket, threading.Event], None]


class Hostile:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._talk, args=(client,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _talk(self, client: socket.socket) -> None:
        with client:
            client.settimeout(5)
            try:
                self.requests.append(client.recv(65536))
                self._answer(client, self._over)
            except OSError:
                return

    def close(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def hostile(answer: Answer) -> Iterator[Hostile]:
    """Serve `answer(client, over)` to each connection; `over` is set when the test has ended."""
    server = Hostile(answer)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)


def drip(beginning: bytes, byte: bytes) -> Answer:
    """An answer that goes on for ever, a byte every tenth of a second."""

    def answer(client: socket.socket, over: threading.Event) -> None:
        client.sendall(beginning)
        while not over.wait(0.1):
            client.sendall(byte)

    return answer


def flood(beginning: bytes, chunk: bytes) -> Answer:
    """An answer that goes on for ever, as fast as it is taken."""

    def answer(client: socket.socket, over: threading.Event) -> None:
        client.sendall(beginning)
        while not over.is_set():
            client.sendall(chunk)

    return answer


def exactly(content: bytes) -> Answer:
    def answer(client: socket.socket, over: threading.Event) -> None:
        client.sendall(content)
        # What is closed with something of the request unread resets the connection.
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            continue

    return answer
