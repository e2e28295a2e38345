"""Where texts lie to each other, by the embedding model of EMBEDDING_MODEL: what memory asks.

The server is that of the agent's provider, spoken to as OpenAI's embeddings. Each call leaves one
ModelCall row like every other. Memory does without where it fails, so nothing is tried twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx2

from agents_app import connections
from agents_app.clients import llm_rows
from agents_app.clients.llm_access import Access, access_to
from agents_app.clients.llm_errors import ModelError
from agents_app.clients.llm_form import Form
from agents_app.clients.llm_question import Message, Of, Question
from agents_app.clients.llm_request import Heard
from agents_app.clients.llm_transport import ModelPatience, Transport
from agents_app.memory import Embed
from agents_app.models import Provider
from agents_app.models_cycles import Phase
from agents_app.models_objects import ModelMode
from config.env import env
from errors_app.taxonomy import ErrorClass, HandlerError

MOST_SECONDS: Final = 10.0
MOST_SHOWN: Final = 500
TEMPLATE: Final = "embedding"


def _never() -> None:
    pass


def embedder(
    provider: Provider, *, of: Of | None = None, check: Callable[[], None] = _never
) -> Embed | None:
    """What `memory` finds texts by; None where no embedding model is configured.

    `check` is called at least once a second while the answer is waited for. Calling it raises
    ModelError, and whatever `check` raises.
    """
    model = env.embedding_model
    if not model:
        return None

    def embed(texts: Sequence[str]) -> list[list[float]]:
        question = Question(
            provider=provider,
            model=model,
            messages=tuple(Message("user", one) for one in texts),
            phase=Phase.LLM,
            of=of or Of(),
            deadline=time.monotonic() + MOST_SECONDS,
            template=TEMPLATE,
            check=check,
        )
        return _asked(question)

    return embed


def _asked(question: Question) -> list[list[float]]:
    access = access_to(question.provider, model=question.model)
    connections.let_go()
    call = ModelPatience(ends_at=question.deadline, begins_by=None, check=question.check)
    heard, began, vectors = Heard(), time.monotonic(), list[list[float]]()
    try:
        vectors = _vectors(_exchange(question, call, access), heard, len(question.messages))
    except (httpx2.HTTPError, ValueError) as error:
        said = access.without_secrets(str(error))[:MOST_SHOWN]
        heard.error = ModelError(
            f"Provider {question.provider.name!r} answered with what are no embeddings: {said}",
            error_class=ErrorClass.MALFORMED,
        )
    except HandlerError as error:
        heard.error = call.stopped_by or _typed(error, access, question)
    finally:
        heard.was_sent = call.has_sent
        heard.latency_ms = round((time.monotonic() - began) * 1000)
    _record(heard, question, access)
    if heard.error is not None:
        raise heard.error
    return vectors


def _exchange(question: Question, call: ModelPatience, access: Access) -> Any:
    transport = Transport(call, headers=access.headers)
    body = {"model": question.model, "input": [one.content for one in question.messages]}
    with httpx2.Client(transport=transport, trust_env=False, follow_redirects=False) as http:
        response = http.post(f"{access.base_url.rstrip('/')}/embeddings", json=body)
        if response.status_code != httpx2.codes.OK:
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


def _typed(error: HandlerError, access: Access, question: Question) -> ModelError:
    if isinstance(error, ModelError):
        return error
    return ModelError(
        access.without_secrets(f"Provider {question.provider.name!r}: {error}"),
        error_class=error.error_class,
    )


def _record(heard: Heard, question: Question, access: Access) -> None:
    form = Form(ModelMode.TEXT)
    spent = llm_rows.spent_on(heard, question, form)
    llm_rows.record(heard, question, form, access=access, spent=spent)
