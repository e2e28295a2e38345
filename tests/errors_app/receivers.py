"""Who gets notices in tests: a mail server and a web server on this machine."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Mailbox:
    """What a mail server received; `port` is where it listens."""

    port: int = 0
    mails: list[str] = field(default_factory=list)


class _MailHandler(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as a client needs to hand over a mail."""

    def handle(self) -> None:
        mailbox: Mailbox = self.server.mailbox  # type: ignore[attr-defined]
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            verb = line.split(" ")[0].upper()
            if verb == "DATA":
                self._say("354 go on")
                mailbox.mails.append(self._data())
            self._say("221 bye" if verb == "QUIT" else "250 fine")
            if verb == "QUIT":
                return

    def _data(self) -> str:
        lines: list[str] = []
        while (line := self.rfile.readline().decode()).strip() != ".":
            lines.append(line)
        return "".join(lines)

    def _say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    """A mail server for the time of the block."""
    mailbox = Mailbox()
    with _Server(("127.0.0.1", 0), _MailHandler) as server:
        server.mailbox = mailbox  # type: ignore[attr-defined]
        mailbox.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield mailbox
        server.shutdown()


@dataclass
class Inbox:
    """What a web server received; it answers `status`, once `gate` is open."""

    port: int = 0
    status: int = 200
    notices: list[dict[str, Any]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """As Apprise takes it."""
        return f"json://user:s3cr3t-word@127.0.0.1:{self.port}/t0k3n-path"

    @property
    def titles(self) -> list[str]:
        return [one["title"] for one in self.notices]


@contextmanager
def web_server() -> Iterator[Inbox]:
    """A web server for the time of the block."""
    inbox = Inbox()
    inbox.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.gate.wait(20)
            if inbox.status == 200:
                inbox.notices.append(json.loads(body))
            self.send_response(inbox.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        inbox.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield inbox
        inbox.gate.set()
        server.shutdown()
