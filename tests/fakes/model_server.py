"""A model provider for tests: OpenAI's protocol over real HTTP, and what it says is scripted.

In a test: `with model_server() as server: server.on("plan", says_json({...}), fails(429))`. By
hand: `python -m tests.fakes.model_server --port 9000`, then it plans whatever it is asked for
(`tests.fakes.model_answers`). It answers each request in a thread of its own and notes all of them.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.model_answers import plans_by_itself
from tests.fakes.model_script import NO_PHASE, Asked, Point, Reply, Script, says

LONGEST_HANG_SECONDS = 60.0
DIMENSIONS = 8


class ModelServer:
    """What the server is told to say, and what it was asked. Used by many threads."""

    def __init__(self, *, port: int = 0, answer: Callable[[Asked], Reply] | None = None) -> None:
        self.script = Script(answer or (lambda _: says("ok")))
        self.on = self.script.on
        self.key = ""  # when set, another one gets a 401
        self.refuses: set[str] = set()  # json_schema, json_object, stream, temperature, ...
        self.models = ["small", "large"]
        self.most_at_once = 0
        self.over = threading.Event()
        self._asked: list[Asked] = []
        self._under_way = 0
        self._guard = threading.Lock()
        self._server = _Threads(("127.0.0.1", port), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """What a provider's base_url is set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def asked(self, phase: str | None = None, *, model: str | None = None) -> list[Asked]:
        """The questions so far, of all phases and models or of one, in their order."""
        with self._guard:
            return [
                one
                for one in self._asked
                if phase in {None, one.phase} and model in {None, one.model}
            ]

    def count(self, phase: str | None = None) -> int:
        return len(self.asked(phase))

    def note(self, asked: Asked) -> None:
        with self._guard:
            asked.number = len(self._asked)
            self._asked.append(asked)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """While the block runs, one more question is under way."""
        with self._guard:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            yield
        finally:
            with self._guard:
                self._under_way -= 1

    def refusal(self, body: dict[str, Any]) -> str:
        """What of this question the provider does not take, as providers put it; else empty."""
        form = (body.get("response_format") or {}).get("type", "")
        for refused in sorted(self.refuses):
            if refused in {"json_schema", "json_object"} and form == refused:
                return f"'response_format.type' must not be '{refused}'"
            if body.get(refused):
                return f"Unsupported parameter: '{refused}' is not supported with this model."
        return ""

    def start(self) -> ModelServer:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Also ends every hang, so that no thread is left behind."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)


@contextmanager
def model_server(answer: Callable[[Asked], Reply] | None = None) -> Iterator[ModelServer]:
    """A server for the block; `answer` says what no script of a phase says."""
    server = ModelServer(answer=answer).start()
    try:
        yield server
    finally:
        server.stop()


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    owner: ModelServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave in the middle are part of the script."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Threads

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base's name
        pass

    def do_GET(self) -> None:
        models = [{"id": one, "object": "model"} for one in self.server.owner.models]
        self._send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        asked = Asked(
            phase=self.headers.get("X-Cadenza-Phase", NO_PHASE),
            path=self.path,
            body=body,
            headers={name.lower(): value for name, value in self.headers.items()},
            at=time.monotonic(),
        )
        owner.note(asked)
        with owner.counted():
            self._answer(asked)

    def _answer(self, asked: Asked) -> None:
        owner = self.server.owner
        if owner.key and asked.headers.get("authorization") != f"Bearer {owner.key}":
            self._fail(401, "Incorrect API key provided")
        elif asked.path.endswith("/embeddings"):
            self._embed(asked)
        elif refusal := owner.refusal(asked.body):
            self._fail(400, refusal)
        else:
            self._say(asked, owner.script.reply(asked).within(asked.most_tokens))

    def _say(self, asked: Asked, reply: Reply) -> None:
        owner = self.server.owner
        owner.over.wait(reply.delay_ms / 1000)
        self._pause(asked, reply, at="headers")
        if reply.raw is not None:
            self.connection.sendall(reply.raw)
            self.close_connection = True
        elif reply.status != 200:
            extra = {} if reply.retry_after is None else {"Retry-After": str(reply.retry_after)}
            self._fail(reply.status, reply.text or "scripted failure", code=reply.code, **extra)
        elif asked.body.get("stream") and not reply.is_plain:
            self._stream(asked, reply)
        else:
            self._send(200, completion(asked, reply))

    def _stream(self, asked: Asked, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._event(chunk(asked, {"role": "assistant", "content": ""}))
        self._pause(asked, reply, at="token")
        half = len(reply.text) // 2
        for at, text in enumerate((reply.text[:half], reply.text[half:])):
            if at == 1:
                self._pause(asked, reply, at="stream")
            if text:
                self._event(chunk(asked, {"content": text}))
        self._event(chunk(asked, {}, finish_reason=reply.finish_reason))
        if reply.has_usage and (asked.body.get("stream_options") or {}).get("include_usage"):
            self._event({**chunk(asked, {}), "choices": [], "usage": reply.usage(asked)})
        self._write(b"data: [DONE]\n\n")
        self._write(b"")

    def _pause(self, asked: Asked, reply: Reply, *, at: Point) -> None:
        if reply.resets_at == at:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            raise ConnectionAbortedError
        if reply.closes_at == at:
            self.connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        if reply.hangs_at == at:
            self._hang(asked)

    def _hang(self, asked: Asked) -> None:
        """Say nothing more until the client leaves or the test is over."""
        asked.hangs.set()
        ends = time.monotonic() + LONGEST_HANG_SECONDS
        while not self.server.owner.over.is_set() and time.monotonic() < ends:
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable and self._is_left():
                asked.left.set()
                break
        raise ConnectionAbortedError

    def _is_left(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:  # left before it had read what was sent
            return True

    def _embed(self, asked: Asked) -> None:
        given = asked.body.get("input")
        texts = given if isinstance(given, list) else [given]
        data = [
            {"object": "embedding", "index": index, "embedding": embedding(str(text))}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": sum(len(str(text)) // 4 for text in texts)}
        model = asked.body.get("model")
        self._send(200, {"object": "list", "data": data, "model": model, "usage": usage})

    def _fail(self, status: int, message: str, *, code: str = "", **headers: str) -> None:
        error = {"message": message, "type": "error", "code": code or None, "param": None}
        self._send(status, {"error": error}, **headers)

    def _send(self, status: int, document: Any, **headers: str) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _event(self, document: dict[str, Any]) -> None:
        self._write(f"data: {json.dumps(document)}\n\n".encode())

    def _write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def completion(asked: Asked, reply: Reply) -> dict[str, Any]:
    """A whole answer, as it is given without streaming."""
    message = {"role": "assistant", "content": reply.text}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    document = {**_head(asked), "object": "chat.completion", "choices": [choice]}
    return {**document, "usage": reply.usage(asked)} if reply.has_usage else document


def chunk(
    asked: Asked, delta: dict[str, Any], *, finish_reason: str | None = None
) -> dict[str, Any]:
    """One event of a streamed answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {**_head(asked), "object": "chat.completion.chunk", "choices": [choice]}


def _head(asked: Asked) -> dict[str, Any]:
    model = asked.body.get("model")
    return {"id": f"chatcmpl-{asked.number}", "created": 1_800_000_000, "model": model}


def embedding(text: str) -> list[float]:
    """A vector that is the same for the same words, and alike for like ones."""
    vector = [0.0] * DIMENSIONS
    for word in text.lower().split():
        vector[sum(word.encode()) % DIMENSIONS] += 1.0
    return vector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=int, default=0, help="before each answer")
    options = parser.parse_args()

    def answer(asked: Asked) -> Reply:
        return plans_by_itself(asked, delay_ms=options.delay_ms)

    server = ModelServer(port=options.port, answer=answer).start()
    print(server.url, flush=True)  # noqa: T201  a command: whoever started it reads where it is
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
