"""Outside an execution's life: the HTTP endpoints that the demo's schedules call.

A bare ASGI application on uvicorn: steady, slow, flaky, dead and sleeping endpoints. A call is a
call: each is put on record before it is answered, none is recognised or merged. What a flaky or
slow endpoint does is drawn from a hash of (seed, Idempotency-Key, attempt): spread, yet the same
again for the same attempt. Imports nothing of the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import resource
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import uvicorn

from config.demo.ledger import CUT, HUNG_UP, Ledger, read

HOST: Final = "127.0.0.1"
FLAKY_FAILURE_RATE: Final = 0.7
FLAKY_FAILURES: Final = (500, 503, CUT)
LONGEST_SLEEP_SECONDS: Final = 600.0
WAITING_CONNECTIONS: Final = 2048
MANY_CONNECTIONS: Final = 8192

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint does: wait, then answer with a status (CUT: break off within the body)."""

    status: int = 200
    after_seconds: float = 0.0


def steady(_chance: float, _query: Mapping[str, str]) -> Answer:
    """A success at once."""
    return Answer()


def slow(chance: float, _query: Mapping[str, str]) -> Answer:
    """A success after 0.5 to 2 seconds."""
    return Answer(after_seconds=0.5 + 1.5 * chance)


def flaky(chance: float, _query: Mapping[str, str]) -> Answer:
    """A failure of one kind or another in 7 of 10 calls."""
    if chance >= FLAKY_FAILURE_RATE:
        return Answer()
    return Answer(FLAKY_FAILURES[int(chance / FLAKY_FAILURE_RATE * len(FLAKY_FAILURES))])


def dead(_chance: float, _query: Mapping[str, str]) -> Answer:
    """Never a success."""
    return Answer(503)


def sleep(_chance: float, query: Mapping[str, str]) -> Answer:
    """A success after `?seconds=`."""
    try:
        seconds = float(query.get("seconds", "1"))
    except ValueError:
        return Answer(400)
    if not math.isfinite(seconds) or not 0 <= seconds <= LONGEST_SLEEP_SECONDS:
        return Answer(400)
    return Answer(after_seconds=seconds)


ENDPOINTS: Final[Mapping[str, Callable[[float, Mapping[str, str]], Answer]]] = {
    "/steady": steady,
    "/slow": slow,
    "/flaky": flaky,
    "/dead": dead,
    "/sleep": sleep,
}


def chance(seed: str, key: str, attempt: int | None) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}:{key}:{attempt}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class Endpoints:
    """The ASGI application; `/ledger` reads back what was called (`endpoint`, `key`, `since`)."""

    def __init__(self, ledger: Ledger, *, seed: str = "cadenza") -> None:
        self._ledger = ledger
        self._seed = seed

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        path = scope["path"]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if path == "/ledger":
            await self._read_back(query, send)
        elif path == "/":
            await _reply(send, 200, {"endpoints": list(ENDPOINTS)})
        else:
            await self._take_call(scope, query, receive, send)

    async def _read_back(self, query: Mapping[str, str], send: Send) -> None:
        try:
            since = float(query.get("since", "0"))
        except ValueError:
            await _reply(send, 400, {"error": "since must be seconds since the epoch"})
            return
        calls = [
            asdict(one)
            for one in read(self._ledger.path)
            if one.arrived_at >= since
            and query.get("endpoint", one.endpoint) == one.endpoint
            and query.get("key", one.idempotency_key) == one.idempotency_key
        ]
        await _reply(send, 200, {"calls": calls})

    async def _take_call(
        self, scope: Message, query: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        key = headers.get(b"idempotency-key")
        attempt = _number(headers.get(b"x-cadenza-attempt"))
        call = self._ledger.arrived(
            endpoint=scope["path"], method=scope["method"], idempotency_key=key, attempt=attempt
        )
        answer = self._answer(scope["path"], query, chance(self._seed, key or call, attempt))
        if answer.after_seconds and await _hangs_up(receive, within_seconds=answer.after_seconds):
            self._ledger.answered(call, HUNG_UP)
            return
        self._ledger.answered(call, answer.status)
        if answer.status == CUT:
            await _break_off(send)
        else:
            await _reply(send, answer.status, {"endpoint": scope["path"], "call": call})

    @staticmethod
    def _answer(path: str, query: Mapping[str, str], drawn: float) -> Answer:
        endpoint = ENDPOINTS.get(path)
        return endpoint(drawn, query) if endpoint else Answer(404)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


async def _hangs_up(receive: Receive, *, within_seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
            return True
    return False


async def _reply(send: Send, status: int, body: Mapping[str, Any]) -> None:
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _break_off(send: Send) -> None:
    """Promise more than is sent; the server closes the connection of an unfinished answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"4096")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"endpoint":', "more_body": True})


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback interface; 0 takes any free port. Raises OSError."""
    return socket.create_server((HOST, port), backlog=WAITING_CONNECTIONS)


def server(ledger: Ledger) -> uvicorn.Server:
    """The HTTP server of the endpoints; run it with `run(sockets=[listen(port)])`."""
    return uvicorn.Server(
        uvicorn.Config(
            Endpoints(ledger),
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            log_level="critical",  # a broken-off answer is meant, not an error of the server
            backlog=WAITING_CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
    )


def allow_open_files(wanted: int) -> None:
    """Let this process have `wanted` files open, or as many as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def serve(listener: socket.socket, ledger: Ledger) -> None:
    """Answer calls until SIGTERM or SIGINT."""
    allow_open_files(MANY_CONNECTIONS)
    ledger.listening()
    server(ledger).run(sockets=[listener])
