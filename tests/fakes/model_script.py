"""What the scripted model is asked, and the ways in which it answers, fails and hangs."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

NO_PHASE = ""
CHARACTERS_A_TOKEN = 4
Point = Literal["headers", "token", "stream"]


@dataclass
class Asked:
    """One question as it arrived; `hangs` and `left`: it is kept waiting, and the client has left.

    `at` is the monotonic instant.
    """

    phase: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    number: int = -1
    hangs: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)

    @property
    def prompt(self) -> str:
        """What all messages say together."""
        return "\n".join(str(one.get("content")) for one in self.body.get("messages", []))

    @property
    def model(self) -> str:
        """Which of its models is asked."""
        return str(self.body.get("model", ""))

    @property
    def most_tokens(self) -> int | None:
        """How long the answer may be, by either name; None if nothing is said of it."""
        most = self.body.get("max_completion_tokens", self.body.get("max_tokens"))
        return most if isinstance(most, int) else None

    @property
    def mode(self) -> str:
        """How JSON is asked for: `json_schema`, `json_object`, or empty."""
        form = self.body.get("response_format") or {}
        return str(form.get("type", ""))


@dataclass(frozen=True)
class Reply:
    """One answer. Of `hangs_at`, `resets_at` and `closes_at` each names where it stops short."""

    text: str = ""
    status: int = 200
    retry_after: object = None
    code: str = ""
    delay_ms: int = 0
    finish_reason: str = "stop"
    has_usage: bool = True
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    is_plain: bool = False  # answered as a whole although a stream was asked for
    is_endless: bool = False  # however long it may be, all of it is said
    hangs_at: Point | None = None
    resets_at: Point | None = None
    closes_at: Point | None = None
    raw: bytes | None = None  # these bytes instead of an HTTP answer

    def usage(self, asked: Asked) -> dict[str, int]:
        prompt = self.prompt_tokens
        prompt = len(asked.prompt) // CHARACTERS_A_TOKEN + 7 if prompt is None else prompt
        said = self.completion_tokens
        said = len(self.text) // CHARACTERS_A_TOKEN + 1 if said is None else said
        return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}

    def within(self, most_tokens: int | None) -> Reply:
        """As much of it as is said before the answer is as long as it may be."""
        if most_tokens is None or self.is_endless:
            return self
        text = self.text[: most_tokens * CHARACTERS_A_TOKEN]
        if text == self.text:
            return self
        said = most_tokens if self.completion_tokens is None else self.completion_tokens
        return replace(self, text=text, finish_reason="length", completion_tokens=said)

    def after(self, milliseconds: int) -> Reply:
        """The same, said later."""
        return replace(self, delay_ms=milliseconds)


Answer = Reply | Callable[[Asked], Reply]


class Script:
    """Replies by phase, one after the other; the last of a phase is said again and again.

    A model that has words of its own says these first.
    """

    def __init__(self, otherwise: Callable[[Asked], Reply]) -> None:
        self._otherwise = otherwise
        self._said: dict[tuple[str | None, str | None], deque[Answer]] = {}
        self._guard = threading.Lock()

    def on(self, phase: str | None, *replies: Answer, model: str | None = None) -> None:
        """Say these from now on when asked in `phase`; None: in any phase without its own."""
        with self._guard:
            self._said[model, phase] = deque(replies)

    def forget(self) -> None:
        """Nothing is scripted any more."""
        with self._guard:
            self._said.clear()

    def reply(self, asked: Asked) -> Reply:
        with self._guard:
            left = self._of(asked)
            if not left:
                said: Answer = self._otherwise
            else:
                said = left.popleft() if len(left) > 1 else left[0]
        return said if isinstance(said, Reply) else said(asked)

    def _of(self, asked: Asked) -> deque[Answer] | None:
        for model in (asked.model, None):
            for phase in (asked.phase, None):
                if left := self._said.get((model, phase)):
                    return left
        return None


def says(text: str, **more: Any) -> Reply:
    return Reply(text, **more)


def says_json(value: object, **more: Any) -> Reply:
    return Reply(json.dumps(value), **more)


def in_prose(value: object) -> Reply:
    """JSON as talkative models give it: words around it, and a fence."""
    return Reply(f"Sure! Here it is:\n```json\n{json.dumps(value, indent=1)}\n```\nAnything else?")


def cut_off(value: object) -> Reply:
    """JSON that stops in the middle, because the answer grew too long."""
    text = json.dumps(value)
    return Reply(text[: len(text) * 2 // 3], finish_reason="length")


def empty() -> Reply:
    return Reply("")


def fails(status: int, message: str = "", *, retry_after: object = None, code: str = "") -> Reply:
    return Reply(message, status=status, retry_after=retry_after, code=code)


def hangs(at: Point = "headers", text: str = "half of an answer") -> Reply:
    return Reply(text, hangs_at=at)


def resets(at: Point = "headers", text: str = "half of an answer") -> Reply:
    return Reply(text, resets_at=at)


def closes(at: Point = "stream", text: str = "half of an answer") -> Reply:
    return Reply(text, closes_at=at)


def plan_of(steps: int, *, name: str = "one") -> dict[str, Any]:
    """A plan that calls the endpoint `name` so many times."""
    return {
        "strategy": "sequential",
        "concurrency": 1,
        "steps": [plan_step(f"s{number}", name) for number in range(1, steps + 1)],
        "reason": "as asked",
        "confidence": 0.9,
    }


def plan_step(id_: str, name: str, *depends_on: str, target: str = "endpoint") -> dict[str, Any]:
    return {
        "id": id_,
        "target": target,
        "name": name,
        "parameters_json": "{}",
        "depends_on": list(depends_on),
        "priority": 0,
        "critical": False,
        "reason": "asked for",
    }
