"""What is kept of each call of a model that an execution made: one row, also of a failed one.

Texts are kept without secrets and cut; tokens are the provider's own count or an estimate that says
so; the price is that of the provider's table at the moment of the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from django.db import connection

from agents_app import connections
from agents_app.clients.llm_access import Access
from agents_app.clients.llm_form import Form
from agents_app.clients.llm_question import Question, estimated_of, estimated_tokens
from agents_app.clients.llm_request import Heard
from agents_app.models import ModelCall, Provider
from agents_app.models_cycles import CallStatus
from errors_app.taxonomy import Cancelled, JobExecutionError
from executions_app.scrub import storable_without_secrets

MOST_KEPT: Final = 64 * 1024
MOST_FAILURE: Final = 2_000
MOST_PROBLEMS: Final = 16 * 1024
MOST_GROUNDS: Final = 32 * 1024
MOST_FINISH_REASON: Final = 50
EMPTY_RESPONSE: Final = "empty_response"
MILLION: Final = Decimal(1_000_000)
MICRO: Final = Decimal("0.000001")
MOST_USD: Final = Decimal(10_000_000)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one call used."""

    prompt_tokens: int
    completion_tokens: int
    is_estimated: bool
    usd: Decimal

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def spent_on(heard: Heard, question: Question, form: Form) -> Spent:
    """The provider's count; where it has given none, an estimate of what it has worked on."""
    prompt, said = heard.prompt_tokens, heard.completion_tokens
    has_worked = heard.was_sent
    is_estimated = has_worked and (not prompt or said is None)
    if is_estimated:
        prompt = prompt or estimated_of(form.messages(question))
        said = estimated_tokens(heard.text) if said is None else said
    prompt, said = (prompt or 0, said or 0) if has_worked else (0, 0)
    usd = cost(question.provider, question.model, prompt=prompt, completion=said)
    return Spent(prompt, said, is_estimated, usd)


def cost(provider: Provider, model: str, *, prompt: int, completion: int) -> Decimal:
    """US dollars, to the millionth; 0 for a model whose price nobody has entered."""
    listed = provider.models if isinstance(provider.models, list) else []
    entries = (one for one in listed if isinstance(one, Mapping) and one.get("name") == model)
    entry = next(entries, {})
    usd = prompt * price(entry.get("usd_per_1m_input")) / MILLION
    usd += completion * price(entry.get("usd_per_1m_output")) / MILLION
    return min(usd, MOST_USD).quantize(MICRO)


def price(value: object) -> Decimal:
    """US dollars for a million tokens, as the table says; 0 for what is no price."""
    try:
        read = Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)
    return read if read.is_finite() and read >= 0 else Decimal(0)


def record(heard: Heard, question: Question, form: Form, *, access: Access, spent: Spent) -> UUID:
    """Store the call, in a statement of its own; its id."""
    call = ModelCall(
        id=_fresh_id(),
        **_of(question),
        mode=form.mode.value,
        request=kept([one.as_json() for one in form.messages(question)], access),
        response=kept(heard.text, access),
        finish_reason=kept(heard.finish_reason[:MOST_FINISH_REASON], access),
        grounds=kept(question.grounds, access, most=MOST_GROUNDS),
        **_verdict(heard, access),
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        is_estimated=spent.is_estimated,
        cost_usd=spent.usd,
        latency_ms=heard.latency_ms,
        first_token_ms=heard.first_token_ms,
    )
    call.save(force_insert=True)
    return call.id


def _fresh_id() -> UUID:
    """An id above all that this connection was given before, also within the same millisecond."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT cadenza_uuid7()")
        fresh: UUID = cursor.fetchone()[0]
    return fresh


def _of(question: Question) -> dict[str, Any]:
    of = question.of
    return {
        "execution_id": of.execution_id,
        "cycle_id": of.cycle_id,
        "schedule_id": of.schedule_id,
        "owner_id": of.owner_id,
        "agent_id": of.agent_id,
        "provider": question.provider.name,
        "model": question.model,
        "phase": question.phase.value,
        "attempt": question.attempt,
        "is_repair": question.is_repair,
        "template": question.template,
        "template_hash": question.template_hash,
    }


def _verdict(heard: Heard, access: Access) -> dict[str, Any]:
    error = heard.error
    if error is None and heard.text.strip():
        return {"status": CallStatus.OK.value}
    if error is None:
        return {
            "status": CallStatus.MALFORMED.value,
            "malformed_class": EMPTY_RESPONSE,
            "problems": kept([heard.declined or "the answer is empty"], access),
        }
    return {
        "status": CallStatus.FAILED.value,
        "failure_class": _class_of(error),
        "failure": kept(str(error), access, most=MOST_FAILURE),
    }


def _class_of(error: Exception) -> str:
    if isinstance(error, JobExecutionError):
        return error.error_class.value
    return "cancelled" if isinstance(error, Cancelled) else "unknown"


def kept(value: Any, access: Access, *, most: int = MOST_KEPT) -> Any:
    """As much of a text, or of a list of them, as is stored, without keys and other secrets."""
    fitting, _ = storable_without_secrets(_without(value, access), max_bytes=most)
    return fitting


def _without(value: Any, access: Access) -> Any:
    match value:
        case str():
            return access.without_secrets(value)
        case list():
            return [_without(one, access) for one in value]
        case dict():
            return {name: _without(one, access) for name, one in value.items()}
    return value


def mark_malformed(call_id: UUID, malformed_class: str, problems: Iterable[object]) -> bool:
    """Say that an answer was of no use, and why; False if that is known, or it was none."""
    shown, _ = storable_without_secrets([str(one) for one in problems], max_bytes=MOST_PROBLEMS)
    changed = ModelCall.objects.filter(id=call_id, status=CallStatus.OK.value).update(
        status=CallStatus.MALFORMED.value, malformed_class=malformed_class, problems=shown
    )
    connections.let_go()
    return bool(changed)
