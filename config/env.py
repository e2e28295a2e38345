"""The environment, typed and validated once, before anything else of the product starts.

Every setting has one flat name, a unit in that name or its description, and a safe default.
A wrong value stops the start and every wrong value is listed at once (`manage.py check_config`).
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parent.parent
KEY_BYTES = 32


def _split(value: str | list[str]) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _postgres(url: str) -> str:
    if url and not url.startswith(("postgres://", "postgresql://")):
        raise ValueError("must begin with postgresql://")
    return url


def _redis(url: str) -> str:
    if url and not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    return url


def _http(url: str) -> str:
    parts = urlsplit(url)
    is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
    if url and (not is_whole or "@" in parts.netloc or parts.query or parts.fragment):
        raise ValueError("must begin with http:// or https://, and carry no account and no query")
    return url.rstrip("/")


def _sentry_dsn(dsn: str) -> str:
    parts = urlsplit(dsn)
    is_whole = parts.scheme in {"http", "https"} and parts.username and parts.hostname
    if dsn and not (is_whole and parts.path.rpartition("/")[2].isdecimal()):
        raise ValueError("must be as Sentry shows it: https://key@host/number")
    return dsn


def _fernet_keys(keys: list[str]) -> list[str]:
    for key in keys:
        try:
            is_whole = len(base64.b64decode(key, altchars=b"-_", validate=True)) == KEY_BYTES
        except ValueError:
            is_whole = False
        if not is_whole:
            raise ValueError(f"each key must be the URL-safe base64 of {KEY_BYTES} random bytes")
    return keys


Names = Annotated[list[str], NoDecode]


class Env(BaseSettings):
    """Every setting of the product; `.env` beside `manage.py` is read beneath the environment."""

    model_config = SettingsConfigDict(
        env_file=CHECKOUT / ".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: Annotated[str, AfterValidator(_postgres)] = Field(
        "", description="PostgreSQL >= 14; empty: the embedded one"
    )
    redis_url: Annotated[str, AfterValidator(_redis)] = Field(
        "", description="Redis >= 6.2 or Valkey; empty: the embedded one"
    )
    cadenza_data_dir: str = Field(".cadenza", description="where the embedded services keep data")
    cadenza_role: str = Field("command", description="which process this is; set by the Procfile")
    port: int = Field(8000, ge=0, le=65535, description="web")
    flower_port: int = Field(5555, ge=0, le=65535, description="Flower")
    demo_port: int = Field(0, ge=0, le=65535, description="the demo's endpoint server")
    demo_url: str = Field("", description="where the demo's schedules find that server")
    django_env: Literal["development", "test", "production"] = "development"
    session_secret: str = Field("", description="Django's secret key; generated in development")
    field_encryption_keys: Annotated[Names, AfterValidator(_fernet_keys)] = Field(
        [], description="of secrets at rest, the newest first; generated in development"
    )
    cadenza_admin_user: str = "admin"
    cadenza_admin_password: str = Field("", description="else generated and printed once")
    allowed_hosts: Names = ["localhost", "127.0.0.1"]
    database_pool_size: int = Field(20, ge=2, le=20, description="connections per process")
    database_prepared_statements: bool = Field(
        True, description="false behind a PgBouncer in transaction mode older than 1.21"
    )
    scheduler_tick_seconds: float = Field(1.0, ge=0.1, le=60)
    scheduler_check_interval: int | None = Field(
        None, description="milliseconds; read as SCHEDULER_TICK_SECONDS when given"
    )
    scheduler_ahead_ms: int = Field(
        400, ge=0, le=1000, description="fires are prepared so long before their instant"
    )
    scheduler_batch_size: int = Field(1000, ge=1, le=5000)
    scheduler_max_concurrent: int = Field(5, ge=1, description="simultaneous agent runs")
    scheduler_max_retries: int = Field(3, ge=0, le=100)
    scheduler_backoff_base: int = Field(1000, ge=1, description="milliseconds")
    scheduler_backoff_max: int = Field(300_000, ge=1, description="milliseconds")
    worker_max_processes: int = Field(
        32, ge=1, description="programs that one worker runs at once; further ones wait"
    )
    worker_max_memory_mb: int = Field(
        480, ge=0, description="a child of a prefork worker that took more is replaced; 0: none is"
    )
    celery_task_events: bool = Field(True, description="workers tell Flower of every message")
    lease_seconds: float = Field(30, ge=2)
    heartbeat_seconds: float = Field(10, ge=0.5)
    hard_limit_grace_seconds: float = Field(
        10, ge=0, description="after its time limit, until what does not stop loses its process"
    )
    rescue_seconds: float = Field(10, ge=0.5)
    execution_timeout_seconds: float = Field(300, gt=0)
    result_max_bytes: int = Field(262_144, ge=1024)
    low_priority_max_wait_seconds: float = Field(300, ge=1)
    drain_seconds: float = Field(30, ge=0)
    presence_seconds: float = Field(
        5, ge=0.2, le=60, description="each process says so often that it lives"
    )
    alert_seconds: float = Field(15, ge=0.5, le=600, description="between two looks at alert rules")
    allow_shell: bool = Field(False, description="admit shell_command with shell: true")
    outbound_allow: Names = Field(
        [], description="hosts, host:port and CIDRs that may be private addresses"
    )
    breaker_enabled: bool = Field(True, description="leave endpoints that fail alone for a while")
    breaker_consecutive_failures: int = Field(
        5, ge=1, description="failed calls in a row that open a breaker"
    )
    breaker_failure_rate: float = Field(
        0.5, gt=0, le=1, description="failed part of the calls in the window that opens a breaker"
    )
    breaker_min_calls: int = Field(20, ge=1, description="fewer in the window open no breaker")
    breaker_window_seconds: float = Field(60, ge=1, le=3600)
    breaker_cooldown_seconds: float = Field(
        30,
        ge=0.1,
        description="until the first probe; doubled by each probe that fails",
    )
    breaker_cooldown_max_seconds: float = Field(600, ge=0.1)
    webhook_max_per_minute: int = Field(
        600, ge=1, description="deliveries that one webhook takes; further ones get 429"
    )
    extra_handlers: Names = Field([], description="name=dotted.path, comma separated")
    extra_tools: Names = Field([], description="name=dotted.path, comma separated")
    openai_api_key: str = Field(
        "",
        repr=False,
        description="with it a provider and an agent named default exist; stored nowhere",
    )
    openai_base_url: Annotated[str, AfterValidator(_http)] = Field(
        "", description="another server that speaks OpenAI's protocol; empty: OpenAI's own"
    )
    anthropic_api_key: str = Field("", repr=False, description="read when OPENAI_API_KEY is empty")
    llm_model: str = Field("", description="the model of the default agent")
    llm_timeout_seconds: float = Field(60, ge=1, le=3600, description="one answer of a model")
    llm_first_token_seconds: float = Field(
        20, ge=0.1, le=3600, description="until a model begins to answer"
    )
    llm_pause_seconds: float = Field(
        60,
        ge=0.1,
        le=86_400,
        description="an agent or provider that fails three times in a row is left out so long",
    )
    llm_pause_max_seconds: float = Field(
        600, ge=0.1, le=86_400, description="doubled by each further failure, up to this"
    )
    llm_answer_tokens: int = Field(
        16_000, ge=100, le=200_000, description="the most of one answer in a cycle"
    )
    llm_tokens_per_day: int = Field(
        0, ge=0, description="of all models together, by days of UTC; 0: no limit"
    )
    llm_usd_per_day: Decimal = Field(
        Decimal(0), ge=0, description="of all models together, by days of UTC; 0: no limit"
    )
    llm_agent_tokens_per_day: int = Field(
        0, ge=0, description="of each agent, by days of UTC; 0: no limit"
    )
    embedding_model: str = Field(
        "", description="finds what an agent remembers by meaning; empty: the newest counts"
    )
    max_repair_attempts: int = Field(
        2, ge=0, le=10, description="a model is shown its invalid answer so often"
    )
    max_plan_steps: int = Field(50, ge=1, le=500)
    plan_approval_seconds: float = Field(
        86_400, ge=1, description="a plan that a person is asked about waits so long for an answer"
    )
    conductor_base_url: Annotated[str, AfterValidator(_http)] = "http://localhost:3001"
    conductor_timeout: int = Field(300_000, ge=1, description="milliseconds")
    sentry_dsn: Annotated[str, AfterValidator(_sentry_dsn)] = Field(
        "", description="Sentry is told of errors; empty: nobody is"
    )
    sentry_sample_rate: float = Field(
        1.0, ge=0, le=1, description="the part of the errors that Sentry is told of"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    chromium_path: str = Field("", description="browser of the tests")
    require_browser: bool = Field(False, description="browser tests fail instead of skipping")

    @field_validator(
        *("allowed_hosts", "outbound_allow", "extra_handlers", "extra_tools"),
        "field_encryption_keys",
        mode="before",
    )
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        return _split(value)

    @property
    def tick_seconds(self) -> float:
        """The longest sleep of a beat, in seconds."""
        if self.scheduler_check_interval is not None:
            return min(60.0, max(0.1, self.scheduler_check_interval / 1000))
        return self.scheduler_tick_seconds

    @property
    def is_production(self) -> bool:
        return self.django_env == "production"

    def secret_key(self, data_dir: Path) -> str:
        """Django's secret key: the given one, or outside production one kept in the data folder."""
        if self.session_secret:
            return self.session_secret
        if self.is_production:
            raise ValueError("SESSION_SECRET: must be set when DJANGO_ENV=production")
        return generated_secret(data_dir / "session_secret")

    def encryption_keys(self, data_dir: Path) -> list[str]:
        """The keys of secrets at rest, the newest first; none if production was given none."""
        if self.field_encryption_keys or self.is_production:
            return self.field_encryption_keys
        return [generated_secret(data_dir / "field_encryption_key", make=_new_fernet_key)]


def _new_session_secret() -> str:
    return secrets.token_urlsafe(48)


def _new_fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def generated_secret(path: Path, *, make: Callable[[], str] = _new_session_secret) -> str:
    """The secret kept in `path` (mode 0600), made once; the first of several writers wins."""
    try:
        return path.read_text()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(make())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text()


def load() -> Env:
    """Read and validate the environment; exits with status 2 and every problem listed."""
    try:
        return Env()
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in one['loc']).upper()}: {one['msg']}"
            for one in error.errors()
        ]
        print("The environment cannot be used; correct these settings:", file=sys.stderr)
        print("\n".join(lines), file=sys.stderr)
        raise SystemExit(2) from None


env: Env = load()
