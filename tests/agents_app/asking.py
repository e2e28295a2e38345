"""What tests of the model's door share: a provider that leads to the scripted server, questions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from agents_app.clients import llm, llm_request
from agents_app.models import Credential, ModelCall, Provider
from agents_app.models_cycles import Phase
from config.env import env
from executions_app import encryption
from tests.fakes.model_server import ModelServer

KEY = "7Qx-what-nobody-may-ever-see-9f3a"  # like no key that scrubbing knows
MODEL = "small"
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
PRICES = [
    {"name": MODEL, "usd_per_1m_input": "2.00", "usd_per_1m_output": 8, "context_tokens": 8000}
]


def provider_at(url: str, *, key: str = KEY, name: str = "scripted", **more: Any) -> Provider:
    credential = None
    if key:
        credential = Credential.objects.create(name=f"key of {name}", value=encryption.encrypt(key))
    return Provider.objects.create(
        name=name, base_url=url, credential=credential, **{"models": PRICES, **more}
    )


def provider_of(server: ModelServer, **more: Any) -> Provider:
    return provider_at(server.url, **more)


def question(provider: Provider, text: str = "What now?", **more: Any) -> llm.Question:
    given: dict[str, Any] = {
        "provider": provider,
        "model": MODEL,
        "messages": (llm.Message("system", "Be brief."), llm.Message("user", text)),
        "phase": Phase.PLAN,
        "deadline": time.monotonic() + 20,
    }
    return llm.Question(**given | more)


def failure(asked: llm.Question) -> llm.ModelError:
    with pytest.raises(llm.ModelError) as caught:
        llm.ask(asked)
    return caught.value


def calls() -> list[ModelCall]:
    """The rows of all calls, the oldest first."""
    return list(ModelCall.objects.order_by("id"))


def settings(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    monkeypatch.setattr(llm_request, "env", env.model_copy(update=changes))


def stopping_at(condition: Callable[[], bool], error: Exception) -> Callable[[], None]:
    """A check that raises once the condition holds."""

    def check() -> None:
        if condition():
            raise error

    return check
