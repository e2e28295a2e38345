"""Where texts lie to each other, by the embedding model of EMBEDDING_MODEL: what memory asks.

The server is that of the agent's provider, spoken to as OpenAI's embeddings. Each call leaves one
ModelCall row and counts in the budgets, like every other. Memory does without where it fails or the
budget is spent, so nothing is tried twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx2

from agents_app import budget, connections
from agents_app.budget import Limit
from agents_app.clients import llm_rows
from agents_app.clients.llm_access import Access, access_to
from agents_app.clients.llm_errors import ModelError
from agents_app.clients.llm_form import Form
from agents_app.clients.llm_question import Message, Of, Question, most_tokens
from agents_app.clients.llm_request import Heard
from agents_app.clients.llm_rows import Spent, cost
from agents_app.clients.llm_transport import ModelPatience, Transport
from agents_app.models import Provider
from agents_app.models_cycles import Phase
from agents_app.models_objects import ModelMode
from agents_app.nearness import Embed
from config.env import env
from errors_app.taxonomy import Cancelled, ErrorClass, HandlerError, JobExecutionError
from executions_app import clock

MOST_SECONDS: Final = 10.0
MOST_SHOWN: Final = 500


def _never() -> None:
    pass


def embedder(
    provider: Provider,
    *,
    limits: Sequence[Limit],
    of: Of | None = None,
    check: Callable[[], None] = _never,
) -> Embed | None:
    """What `memory` finds texts by; None where no embedding model is configured.

    `check` is called at least once a second while the answer is waited for. Calling it raises
    ModelError, BudgetSpent if it might exceed one of `limits`, and whatever `check` raises.
    """
    model = env.embedding_model
    if not model:
        return None

    def embed(texts: Sequence[str]) -> list[list[float]]:
        question = Question(
            provider=provider,
            model=model,
            messages=tuple(Message("user", one) for one in texts),
            phase=Phase.EMBED,
            of=of or Of(),
            max_tokens=0,
            deadline=time.monotonic() + MOST_SECONDS,
            check=check,
        )
        return _asked_within(limits, question)

    return Embed(space=f"{provider.name}/{model}", vectors=embed)


def _asked_within(limits: Sequence[Limit], question: Question) -> list[list[float]]:
    """The vectors, if they can be paid; a call that cannot even be made reserves nothing."""
    access = access_to(question.provider, model=question.model)
    _check_health(question.provider)
    tokens = most_tokens(question)
    usd = cost(question.provider, question.model, prompt=tokens, completion=0)
    seconds = MOST_SECONDS + budget.GRACE_SECONDS
    with budget.reserved(limits, tokens=tokens, usd=usd, seconds=seconds) as held:
        vectors, spent = _asked(question, access)
        held.settle(tokens=spent.tokens, usd=spent.usd)
    return vectors


def _check_health(provider: Provider) -> None:
    """Raise ModelError for one that is left out: it would be waited for in every cycle."""
    until = provider.unhealthy_until
    if until is not None and until > clock.now():
        message = f"Provider {provider.name!r} is left out until {until:%H:%M:%S} UTC: it fails"
        raise ModelError(message, error_class=ErrorClass.TRANSIENT)


def _asked(question: Question, access: Access) -> tuple[list[list[float]], Spent]:
    connections.let_go()  # nobody holds one while the network goes on
    call = ModelPatience(ends_at=question.deadline, begins_by=None, check=question.check)
    heard, began, vectors = Heard(), time.monotonic(), list[list[float]]()
    try:
        answer = _exchange(question, call, access, heard)
        vectors = _vectors(answer, heard, len(question.messages))
    except (httpx2.HTTPError, ValueError) as error:
        said = access.without_secrets(str(error))[:MOST_SHOWN]
        heard.error = ModelError(
            f"Provider {question.provider.name!r} answered with what are no embeddings: {said}",
            error_class=ErrorClass.MALFORMED,
        )
    except (JobExecutionError, Cancelled) as error:
        heard.error = call.stopped_by or _typed(error, access, question)
    finally:
        heard.was_sent = call.has_sent and not heard.was_rejected
        heard.latency_ms = round((time.monotonic() - began) * 1000)
    spent = _record(heard, question, access)
    if isinstance(heard.error, ModelError):
        heard.error.spent_tokens, heard.error.spent_usd = spent.tokens, spent.usd
    if heard.error is not None:
        raise heard.error
    return vectors, spent


def _exchange(question: Question, call: ModelPatience, access: Access, heard: Heard) -> Any:
    transport = Transport(call, headers={**access.headers, **question.headers})
    body = {"model": question.model, "input": [one.content for one in question.messages]}
    with httpx2.Client(transport=transport, trust_env=False, follow_redirects=False) as http:
        response = http.post(f"{access.base_url.rstrip('/')}/embeddings", json=body)
        if response.status_code != httpx2.codes.OK:
            heard.was_rejected = True
            is_passing = response.status_code == 429 or response.status_code >= 500
            raise ModelError(
                f"Provider {question.provider.name!r} answered {response.status_code} "
                "when it was asked for embeddings",
                error_class=ErrorClass.TRANSIENT if is_passing else ErrorClass.PERMANENT,
            )
        return response.json()


def _vectors(answer: Any, heard: Heard, count: int) -> list[list[float]]:
    """The vectors in the order of the texts; raises ValueError for anything else."""
    try:
        ordered = sorted(answer["data"], key=lambda one: one["index"])
        vectors = [[float(value) for value in one["embedding"]] for one in ordered]
        heard.prompt_tokens = int(answer.get("usage", {}).get("prompt_tokens", 0)) or None
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"its form is another: {error!r}") from error
    if len(vectors) != count:
        raise ValueError(f"there are {len(vectors)} vectors for {count} texts")
    heard.completion_tokens = 0
    heard.text = f"{len(vectors)} vectors"
    return vectors


def _typed(error: Exception, access: Access, question: Question) -> Exception:
    """Why there is no answer; what ends the execution stays what it is."""
    if isinstance(error, ModelError) or not isinstance(error, HandlerError):
        return error
    return ModelError(
        access.without_secrets(f"Provider {question.provider.name!r}: {error}"),
        error_class=error.error_class,
    )


def _record(heard: Heard, question: Question, access: Access) -> Spent:
    form = Form(ModelMode.TEXT)
    spent = llm_rows.spent_on(heard, question, form)
    llm_rows.record(heard, question, form, access=access, spent=spent)
    return spent
