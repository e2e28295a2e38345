"""Around the product: a model that answers after a while, always the same, at hardly any cost.

`python -m benchmarks.model PORT SECONDS FILE` writes one line per call into FILE, as
`benchmarks.endpoint` does. It speaks just enough of Chat Completions: the door names the phase in a
header, and takes an answer as a whole although it asked for a stream.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any, Final

from typing_extensions import override

from benchmarks.endpoint import WAITING_CONNECTIONS, Call

ENDPOINTS: Final = ("e1", "e2", "e3", "e4", "e5")
PHASE: Final = b"\r\nx-cadenza-phase:"


def _step(number: int, name: str) -> dict[str, Any]:
    return {
        "id": f"s{number}",
        "target": "endpoint",
        "name": name,
        "parameters_json": "{}",
        "depends_on": [],
        "priority": 50,
        "critical": False,
        "reason": "each once",
    }


SAID: Final[dict[bytes, str]] = {
    b"plan": json.dumps(
        {
            "strategy": "parallel",
            "concurrency": len(ENDPOINTS),
            "steps": [_step(number, name) for number, name in enumerate(ENDPOINTS, start=1)],
            "reason": "all of them, together",
            "confidence": 0.9,
        }
    ),
    b"schedule": json.dumps(
        {
            "action": "keep",
            "next_run_at": None,
            "interval_ms": None,
            "pause_until": None,
            "reason": "it goes well",
            "confidence": 0.8,
            "recommended_actions": [],
        }
    ),
}


def _answer(phase: bytes) -> bytes:
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": "bench",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {
                        "role": "assistant",
                        "content": SAID.get(phase, "All of it was done."),
                    },
                }
            ],
            "usage": {"prompt_tokens": 900, "completion_tokens": 120, "total_tokens": 1_020},
        }
    ).encode()
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\nconnection: close\r\n\r\n"
    )
    return head % len(body) + body


ANSWERS: Final = {phase: _answer(phase) for phase in (b"plan", b"summarise", b"schedule")}


class Question(Call):
    """One connection, one question, one answer."""

    @override
    def answer(self) -> bytes:
        at = self.head.lower().find(PHASE)
        phase = self.head[at + len(PHASE) :].split(b"\r\n", 1)[0].strip() if at >= 0 else b""
        return ANSWERS.get(phase.lower(), ANSWERS[b"summarise"])


async def serve(port: int, after_seconds: float, path: str) -> None:
    """Answer until the process ends."""
    calls = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    server = await asyncio.get_running_loop().create_server(
        lambda: Question(after_seconds, calls), "127.0.0.1", port, backlog=WAITING_CONNECTIONS
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
