"""The only door to a model: whatever a cycle asks of one, it asks here.

A question is answered or fails with a ModelError that says whether asking again may help, in time
whatever the provider does. Every request leaves one ModelCall row. Keys are read at the moment of
the call and stand in no row, no message and no log. No transaction is open while a model is asked.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Final
from uuid import UUID

from agents_app import connections
from agents_app.clients import llm_form, llm_request, llm_rows
from agents_app.clients.llm_access import Access, access_to
from agents_app.clients.llm_errors import ModelError as ModelError
from agents_app.clients.llm_errors import ModelNotConfigured as ModelNotConfigured
from agents_app.clients.llm_question import Answer as Answer
from agents_app.clients.llm_question import Message as Message
from agents_app.clients.llm_question import Of as Of
from agents_app.clients.llm_question import Question as Question
from agents_app.clients.llm_question import estimated_tokens as estimated_tokens
from agents_app.clients.llm_question import most_tokens as most_tokens
from agents_app.clients.llm_request import Heard
from agents_app.clients.llm_rows import EMPTY_RESPONSE, Spent
from agents_app.clients.llm_rows import mark_malformed as mark_malformed
from agents_app.models import Provider
from agents_app.models_cycles import Phase
from errors_app.taxonomy import ErrorClass
from executions_app import clock

MOST_RETRIES: Final = 2
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 0.5

# At DEBUG they would write prompts and answers into the log.
for _name in ("openai", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def ask(question: Question) -> Answer:
    """What the model says. Raises ModelError, and whatever `check` raises.

    Connections lost, 429 and 5xx are tried again, at most twice and within the deadline, after the
    time that the provider asks for; a form that it does not take is replaced at once.
    """
    return _Conversation(question).answer()


def preflight(provider: Provider, *, model: str) -> None:
    """Raise ModelNotConfigured (`blocked_config`) if a call cannot even be made; makes none."""
    access_to(provider, model=model)


def probe(provider: Provider, *, model: str, seconds: float = 20.0) -> Answer:
    """Ask for next to nothing: whether the model answers, and in which form it gives JSON."""
    provider.mode, provider.probed_at = "", None
    question = Question(
        provider=provider,
        model=model,
        messages=(Message("user", 'Answer with {"ok": true}'),),
        phase=Phase.PROBE,
        schema=PROBE_SCHEMA,
        schema_name="probe",
        max_tokens=50,
        deadline=time.monotonic() + seconds,
    )
    return ask(question)


PROBE_SCHEMA: Final = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


class _Conversation:
    """One question with its retries: every request of it, and what they have used so far."""

    def __init__(self, question: Question) -> None:
        self._question = question
        try:
            self._access: Access = access_to(question.provider, model=question.model)
            self._now = clock.now()
        finally:
            connections.let_go()
        base_url = self._access.base_url
        self._form = llm_form.first_form(question, base_url=base_url, now=self._now)
        self._spent: list[Spent] = []
        self._retries = 0

    def answer(self) -> Answer:
        """The answer, after as many requests as it takes; raises what the last one failed of."""
        while True:
            connections.let_go()  # nothing is held while a model thinks
            heard = llm_request.send(self._question, self._form, access=self._access)
            spent = llm_rows.spent_on(heard, self._question, self._form)
            self._spent.append(spent)
            call_id = llm_rows.record(
                heard, self._question, self._form, access=self._access, spent=spent
            )
            error = heard.error or _nothing_said(heard)
            if error is None:
                self._remember()
                return self._answer(heard, spent, call_id=call_id)
            if isinstance(error, ModelError):
                error.call_id = call_id
                error.spent_tokens, error.spent_usd = self._spent_tokens, self._spent_usd
            if not self._goes_on(heard, error):
                raise error
            has_room = not spent.tokens or self._question.before_another(
                self._spent_tokens, self._spent_usd
            )
            if not has_room:
                raise error

    def _goes_on(self, heard: Heard, error: Exception) -> bool:
        """Whether to ask again; waits until then. Raises what `check` raises."""
        following = self._form.after(heard.refused) if heard.refused else None
        if following is not None:
            self._form = following
            return True
        if not isinstance(error, ModelError) or error.error_class is not ErrorClass.TRANSIENT:
            return False
        seconds = _wait_seconds(error, retries=self._retries)
        is_in_time = time.monotonic() + seconds < self._question.deadline
        if self._retries >= MOST_RETRIES or not is_in_time:
            return False
        self._retries += 1
        _wait(seconds, check=self._question.check)
        return True

    @property
    def _spent_tokens(self) -> int:
        return sum(one.tokens for one in self._spent)

    @property
    def _spent_usd(self) -> Decimal:
        return sum((one.usd for one in self._spent), start=Decimal(0))

    def _remember(self) -> None:
        try:
            base_url = self._access.base_url
            llm_form.remember(self._question, self._form, base_url=base_url, now=self._now)
        finally:
            connections.let_go()

    def _answer(self, heard: Heard, spent: Spent, *, call_id: UUID) -> Answer:
        return Answer(
            text=heard.text,
            call_id=call_id,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            is_estimated=spent.is_estimated,
            cost_usd=spent.usd,
            latency_ms=heard.latency_ms,
            first_token_ms=heard.first_token_ms,
            mode=self._form.mode.value,
            finish_reason=heard.finish_reason,
            spent_tokens=self._spent_tokens,
            spent_usd=self._spent_usd,
        )


def _nothing_said(heard: Heard) -> ModelError | None:
    if heard.text.strip():
        return None
    reason = f"it declined: {heard.declined}" if heard.declined else "its answer is empty"
    return ModelError(
        f"The model said nothing that can be used: {reason}",
        error_class=ErrorClass.MALFORMED,
        malformed_class=EMPTY_RESPONSE,
    )


def _wait_seconds(error: ModelError, *, retries: int) -> float:
    """What the provider asks for, else exponential with full jitter."""
    jitter = random.uniform(0, min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**retries))  # noqa: S311  no secret
    return jitter if error.retry_after is None else max(error.retry_after, 0.0)


def _wait(seconds: float, *, check: Callable[[], None]) -> None:
    connections.let_go()
    ends_at = time.monotonic() + seconds
    while (left := ends_at - time.monotonic()) > 0:
        check()
        time.sleep(min(left, LOOK_SECONDS))
    check()
