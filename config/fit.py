"""Before anything starts: whether settings that are valid one by one also fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from agents_app.handlers import registry
from agents_app.tools import registry as tools
from config.env import Env

SECRETS: Final = frozenset({"session_secret", "cadenza_admin_password", "openai_api_key",
                            "anthropic_api_key", "field_encryption_keys",
                            "sentry_dsn"})  # fmt: skip
URLS: Final = frozenset({"database_url", "redis_url"})
HIDDEN: Final = "(set, not shown)"
SHORTEST_SECRET: Final = 32


class Setting(BaseModel):
    """One setting as `check_config` lists it; a secret shows only whether it is set."""

    name: str
    value: Any
    is_default: bool
    description: str


def problems(env: Env) -> list[str]:
    """What does not fit together, a sentence each that begins with the setting's name."""
    return [
        *_time_problems(env),
        *_handler_problems(env),
        *_tool_problems(env),
        *_production_problems(env),
    ]


def settings(env: Env) -> list[Setting]:
    """Every setting with its value, in alphabetical order."""
    return [
        Setting(
            name=name.upper(),
            value=_shown(name, getattr(env, name)),
            is_default=name not in env.model_fields_set,
            description=field.description or "",
        )
        for name, field in sorted(Env.model_fields.items())
    ]


def _shown(name: str, value: Any) -> Any:
    if name in SECRETS or (name in URLS and "@" in value):
        return HIDDEN if value else ""
    return value


def _time_problems(env: Env) -> Iterator[str]:
    if env.heartbeat_seconds * 2 > env.lease_seconds:
        yield (
            f"HEARTBEAT_SECONDS: {env.heartbeat_seconds:g} is more than half of LEASE_SECONDS "
            f"({env.lease_seconds:g}); one late heartbeat would lose the lease"
        )
    if env.llm_first_token_seconds > env.llm_timeout_seconds:
        yield (
            f"LLM_FIRST_TOKEN_SECONDS: {env.llm_first_token_seconds:g} is more than "
            f"LLM_TIMEOUT_SECONDS ({env.llm_timeout_seconds:g}), the time of a whole answer"
        )
    if env.llm_pause_seconds > env.llm_pause_max_seconds:
        yield (
            f"LLM_PAUSE_SECONDS: {env.llm_pause_seconds:g} is more than "
            f"LLM_PAUSE_MAX_SECONDS ({env.llm_pause_max_seconds:g}), the longest pause"
        )
    if env.scheduler_backoff_base > env.scheduler_backoff_max:
        yield (
            f"SCHEDULER_BACKOFF_BASE: {env.scheduler_backoff_base} ms is more than "
            f"SCHEDULER_BACKOFF_MAX ({env.scheduler_backoff_max} ms)"
        )


def _handler_problems(env: Env) -> Iterator[str]:
    try:
        names = registry.extra_handlers(env.extra_handlers)
    except ValueError as error:
        yield str(error)
        return
    for name in names:
        try:
            registry.resolve(name)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            yield f"EXTRA_HANDLERS: {name!r} cannot be loaded: {error}"


def _tool_problems(env: Env) -> Iterator[str]:
    try:
        names = tools.extra_tools(env.extra_tools)
    except ValueError as error:
        yield str(error)
        return
    for name in names:
        try:
            tools.find(name)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            yield f"EXTRA_TOOLS: {name!r} cannot be loaded: {error}"


def _production_problems(env: Env) -> Iterator[str]:
    if not env.is_production:
        return
    if len(env.session_secret) < SHORTEST_SECRET:
        yield f"SESSION_SECRET: has fewer than {SHORTEST_SECRET} characters; make a longer one"
    if not env.field_encryption_keys:
        yield "FIELD_ENCRYPTION_KEYS: must be set, or no secret can be kept at rest"
    if "*" in env.allowed_hosts:
        yield "ALLOWED_HOSTS: '*' admits every host name; list those of this installation"
