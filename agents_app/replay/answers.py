"""The stored answers of a cycle once more through parser, checks, repair and salvage: no tokens.

It is the code that a cycle asks with; only the door is another: it says what the model has said.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from agents_app.clients.llm_errors import ModelError
from agents_app.clients.llm_question import Answer, Message, Question
from agents_app.clients.llm_rows import EMPTY_RESPONSE, MOST_KEPT
from agents_app.models import ModelCall, Provider
from agents_app.models_cycles import CallStatus, Phase
from agents_app.planning.asking import Patience, Product, ask_for
from agents_app.planning.fallback import Trouble
from agents_app.planning.judging import Contract
from agents_app.planning.malformed import MalformedResponseError
from agents_app.planning.problems import class_of
from agents_app.replay.recorded import Asking
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.scrub import SCRUBBED

T = TypeVar("T")
MOST_PROBLEMS: Final = 10
CUT_FROM: Final = MOST_KEPT - 2_048  # an answer of so many bytes may have been cut when stored


class NotRecorded(HandlerError):
    """The model would be asked once more here, and was not."""

    def __init__(self) -> None:
        super().__init__("no further answer is stored", error_class=ErrorClass.TRANSIENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played(Generic[T]):
    """What came of the stored answers of a phase. Without a `value`: `trouble` and `reason`."""

    value: T | None
    provider: str = ""
    notes: tuple[str, ...] = ()
    trouble: Trouble | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One stored answer and what the checks say to it; `malformed_class` is empty if it is good."""

    malformed_class: str
    problems: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        return f"refused ({self.malformed_class})" if self.malformed_class else "accepted"

    def as_json(self) -> dict[str, Any]:
        return {"malformed_class": self.malformed_class, "problems": list(self.problems)}


def play(askings: Sequence[Asking], contract: Contract[T], *, patience: Patience) -> Played[T]:
    """What a cycle would make of these answers: those of the first provider that will do."""
    failures: list[tuple[Trouble, str]] = []
    for asking in askings:
        provider, _ = asking.who
        try:
            product = _product(asking, contract, patience=patience)
        except HandlerError as error:
            failures.append((_trouble(error), f"{provider}: {error}"))
            continue
        reasons = [reason for _, reason in failures]
        return Played(
            value=product.value,
            provider=provider,
            notes=(*reasons, *product.notes),
        )
    trouble = failures[0][0] if failures else None
    return Played(value=None, trouble=trouble, reason="; ".join(words for _, words in failures))


def verdict(call: ModelCall, contract: Contract[Any]) -> Verdict | None:
    """What the checks say to one stored answer alone; None if nothing was answered."""
    if call.status == CallStatus.FAILED:
        return None
    problems = contract.judge(call.response, finish_reason=call.finish_reason).problems
    if not problems:
        return Verdict(malformed_class="")
    shown = tuple(str(one) for one in problems[:MOST_PROBLEMS])
    return Verdict(malformed_class=class_of(problems).value, problems=shown)


def then(call: ModelCall) -> Verdict | None:
    """What was said to it when it came."""
    if call.status == CallStatus.FAILED:
        return None
    shown = tuple(str(one) for one in call.problems[:MOST_PROBLEMS])
    return Verdict(malformed_class=call.malformed_class, problems=shown)


def remark(call: ModelCall) -> str:
    """Why a stored answer may not be what the model said, if so."""
    if len(json.dumps(call.response, ensure_ascii=False).encode()) >= CUT_FROM:
        return "it was stored cut"
    return "it was stored without a secret" if SCRUBBED in call.response else ""


def _product(asking: Asking, contract: Contract[T], *, patience: Patience) -> Product[T]:
    first = asking.calls[0]
    question = Question(
        provider=Provider(name=first.provider),
        model=first.model,
        messages=(Message("user", ""),),
        phase=Phase(first.phase),
        deadline=time.monotonic(),
    )
    recording = _Recording(asking.calls)
    return ask_for(
        contract, question=question, ask=recording.ask, mark=_unmarked, patience=patience
    )


def _unmarked(_call_id: UUID, _malformed_class: str, _problems: Sequence[str]) -> None:
    """The rows stay as they are."""


class _Recording:
    """The door to a model that says what it has said already, in order."""

    def __init__(self, calls: Sequence[ModelCall]) -> None:
        self._calls = deque(calls)

    def ask(self, _question: Question) -> Answer:
        while self._calls:
            call = self._calls.popleft()
            if call.status == CallStatus.FAILED:
                if self._calls:  # the door itself tried again
                    continue
                raise ModelError(call.failure, error_class=_class_of(call))
            if not call.response.strip():
                raise _nothing_said(call)
            return _answer(call)
        raise NotRecorded


def _nothing_said(call: ModelCall) -> ModelError:
    error = ModelError(
        "The model said nothing that can be used",
        error_class=ErrorClass.MALFORMED,
        malformed_class=EMPTY_RESPONSE,
    )
    error.call_id = call.id
    return error


def _answer(call: ModelCall) -> Answer:
    return Answer(
        text=call.response,
        call_id=call.id,
        prompt_tokens=0,
        completion_tokens=0,
        is_estimated=False,
        cost_usd=Decimal(0),
        latency_ms=call.latency_ms,
        first_token_ms=call.first_token_ms,
        mode=call.mode,
        finish_reason=call.finish_reason,
    )


def _class_of(call: ModelCall) -> ErrorClass:
    known = {one.value: one for one in ErrorClass}
    return known.get(call.failure_class, ErrorClass.PERMANENT)


def _trouble(error: HandlerError) -> Trouble:
    return Trouble.MALFORMED if isinstance(error, MalformedResponseError) else Trouble.DOWN
