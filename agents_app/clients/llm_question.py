"""What an execution asks of a model, and what it gets: the words of the door, without its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from agents_app.models import Provider
from agents_app.models_cycles import Phase

CHARACTERS_PER_TOKEN: Final = 4
TOKENS_PER_MESSAGE: Final = 4
USUAL_ANSWER_TOKENS: Final = 2_000
PHASE_HEADER: Final = "X-Cadenza-Phase"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role`: system, user or assistant."""

    role: str
    content: str

    def as_json(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True, kw_only=True)
class Of:
    """Whose call it is: what its row is found by, and the provider's log if that keeps it."""

    execution_id: UUID | None = None
    cycle_id: UUID | None = None
    schedule_id: UUID | None = None
    owner_id: int | None = None
    agent_id: UUID | None = None
    request_id: str = ""


def _never() -> None:
    pass


def _as_often_as_it_takes(_tokens: int, _usd: Decimal) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question to one model.

    With a `schema` the answer is asked for as JSON of that form, by the strictest way that the
    provider knows; with `wants_json` as any JSON object. `deadline` is a monotonic instant. `check`
    is called at least once a second while the answer is waited for; what it raises ends the call.
    `grounds`: what the answer will be checked against, to be kept with the call. `enough_tokens`:
    where a budget has no room for an answer of `max_tokens`, one of so few will do; 0: none will.
    `before_another` is called before a further request, if those before it have used anything, with
    the tokens and US dollars of that; False: there is none.
    """

    provider: Provider
    model: str
    messages: tuple[Message, ...]
    phase: Phase
    deadline: float
    of: Of = field(default_factory=Of)
    schema: Mapping[str, Any] | None = None
    schema_name: str = ""
    wants_json: bool = False
    temperature: float = 0.2
    max_tokens: int = USUAL_ANSWER_TOKENS
    enough_tokens: int = 0
    template: str = ""
    template_hash: str = ""
    attempt: int = 1
    is_repair: bool = False
    grounds: Mapping[str, Any] | None = None
    check: Callable[[], None] = _never
    before_another: Callable[[int, Decimal], bool] = _as_often_as_it_takes

    @property
    def headers(self) -> dict[str, str]:
        """What a request says of itself, beside who asks."""
        own = {PHASE_HEADER: self.phase.value}
        return own | {"X-Request-ID": self.of.request_id} if self.of.request_id else own


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said, never empty; tokens, cost and latency are those of the call that said it.

    `spent_tokens` and `spent_usd`: of this call and of those before it that failed.
    `is_estimated`: the provider reported no usage.
    """

    text: str
    call_id: UUID
    prompt_tokens: int
    completion_tokens: int
    is_estimated: bool
    cost_usd: Decimal
    latency_ms: int
    first_token_ms: int | None
    mode: str
    finish_reason: str
    spent_tokens: int = 0
    spent_usd: Decimal = Decimal(0)


def estimated_tokens(text: str) -> int:
    """What a text has, where nobody has counted: four characters each, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def estimated_of(messages: tuple[Message, ...]) -> int:
    return sum(estimated_tokens(one.content) + TOKENS_PER_MESSAGE for one in messages)


def most_tokens(question: Question) -> int:
    """What one call can use at the very most: three bytes of the prompt hold a token at least."""
    prompt = sum(len(one.content.encode()) // 3 + 16 for one in question.messages)
    schema = len(str(question.schema)) // 3 if question.schema else 0
    return prompt + schema + question.max_tokens
