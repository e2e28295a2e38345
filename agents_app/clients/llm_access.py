"""Where a model is reached and with which key, looked up at the moment of an execution's call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

from agents_app.clients.llm_errors import ModelNotConfigured
from agents_app.clients.outgoing import checked_url
from agents_app.models import Provider
from agents_app.objects import environment, providers
from agents_app.objects.providers import Connection
from executions_app import encryption
from executions_app.scrub import SCRUBBED

NEED_A_KEY: Final = frozenset({"api.openai.com", "api.anthropic.com"})
SHORTEST_SECRET: Final = 4
_SENDABLE: Final = re.compile(r"[\x21-\x7e]{1,8192}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """An address, and what a request carries to be let in."""

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def without_secrets(self, text: str) -> str:
        """`text`, which a provider may have said, without the key as it may be spelled there."""
        for secret in self.secrets:
            text = text.replace(secret, SCRUBBED)
        return text


def access_to(provider: Provider, *, model: str) -> Access:
    """How `model` of this provider is reached; raises ModelNotConfigured, without any request.

    An own server that is registered without a credential is asked without a key.
    """
    if not provider.enabled:
        raise ModelNotConfigured(f"Provider {provider.name!r} is disabled; enable it")
    if not model:
        raise ModelNotConfigured(
            f"No model is named for provider {provider.name!r}; set the agent's model or LLM_MODEL"
        )
    found = _connection(provider)
    base_url, key = found.base_url or environment.OPENAI_URL, found.key.strip()
    try:
        checked_url(base_url)
    except ValueError as error:
        raise ModelNotConfigured(f"Provider {provider.name!r}: {error}") from None
    if not key:
        if urlsplit(base_url).hostname in NEED_A_KEY:
            raise ModelNotConfigured(f"Provider {provider.name!r} has no key; give it a credential")
        return Access(base_url=base_url)
    if problem := providers.misplaced(provider, base_url=base_url):
        raise ModelNotConfigured(f"The key of provider {provider.name!r} cannot be used: {problem}")
    if not _SENDABLE.fullmatch(key):
        raise ModelNotConfigured(
            f"The key of provider {provider.name!r} holds characters that no header may hold; "
            "store it anew, without spaces or line breaks"
        )
    headers = {"Authorization": f"Bearer {key}"}
    return Access(base_url=base_url, headers=headers, secrets=_spellings(key))


def _connection(provider: Provider) -> Connection:
    try:
        found = providers.connection(provider)
    except (encryption.Undecryptable, encryption.NoKeys) as error:
        raise ModelNotConfigured(f"The key of provider {provider.name!r}: {error}") from None
    if found is None:
        raise ModelNotConfigured(
            f"Provider {provider.name!r} is that of the environment, which has no key; "
            "set OPENAI_API_KEY or ANTHROPIC_API_KEY"
        )
    return found


def _spellings(key: str) -> tuple[str, ...]:
    """The key as it may come back; a very short one cannot be told from other words."""
    if len(key) < SHORTEST_SECRET:
        return ()
    return tuple(dict.fromkeys((key, json.dumps(key)[1:-1], quote(key, safe=""))))
