"""The provider and the agent that a cycle has without further set-up: those of the environment.

The key is read from the settings each time and stored nowhere. When it goes away, what was made of
it stays and is used no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from config.env import env

DEFAULT: Final = "default"
OPENAI_URL: Final = "https://api.openai.com/v1"
OPENAI_MODEL: Final = "gpt-4o-mini"
ANTHROPIC_URL: Final = "https://api.anthropic.com/v1"
ANTHROPIC_MODEL: Final = "claude-sonnet-4-5"


@dataclass(frozen=True, slots=True)
class Given:
    """What the environment says of a provider; `base_url` is empty for OpenAI's own.

    `model` is empty where nobody can know what the server offers.
    """

    key: str = field(repr=False)
    base_url: str
    model: str


def provider() -> Given | None:
    """The provider of the environment; None without a key."""
    if env.openai_api_key:
        known = "" if env.openai_base_url else OPENAI_MODEL
        return Given(env.openai_api_key, env.openai_base_url, env.llm_model or known)
    if env.anthropic_api_key:
        return Given(env.anthropic_api_key, ANTHROPIC_URL, env.llm_model or ANTHROPIC_MODEL)
    return None
