"""How a process reaches PostgreSQL and Redis: a URL in, Django's and redis-py's settings out."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

POOLED_ROLES: Final = frozenset({"web", "worker_io", "worker_low"})
# What is prepared is planned once: by itself PostgreSQL would go on planning for every short array.
# PostgreSQL 18 crashes when a row that is to be locked changes meanwhile and its plan chooses
# partitions as it runs (docs/decisions/0009).
SESSION_OPTIONS: Final = (
    "-c statement_timeout=15000 -c lock_timeout=3000 -c idle_in_transaction_session_timeout=30000 "
    "-c plan_cache_mode=force_generic_plan -c jit=off -c enable_partition_pruning=off"
)
# A server that vanished without a word is given up after about ten seconds, before leases end.
SILENCE_OPTIONS: Final = {
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# `reconnect_timeout` bounds the pool's growing pauses between attempts to reach the server again.
WEB_SECONDS: Final = 1  # requests wait one after the other, so each must be refused soon
POOL_OPTIONS: Final = {"min_size": 1, "timeout": 3, "reconnect_timeout": 3, "max_lifetime": 1800}


def database(url: str, *, role: str, size: int) -> dict[str, Any]:
    """Django's DATABASES entry for a PostgreSQL URL.

    Processes with many threads share a pool of at most `size` connections (PostgreSQL would
    otherwise see one per thread); a single-threaded one keeps its connection.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    host = query.pop("host", None) or parts.hostname or ""
    options: dict[str, Any] = {
        **query,
        "options": SESSION_OPTIONS,
        "application_name": f"cadenza-{role}",
        "connect_timeout": 4,
        "prepare_threshold": 5,  # else the driver prepares nothing, not even when asked to
        **SILENCE_OPTIONS,
    }
    is_pooled = role in POOLED_ROLES
    if is_pooled:
        options["pool"] = {**POOL_OPTIONS, "max_size": size}
        if role == "web":
            options["pool"]["timeout"] = WEB_SECONDS
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "cadenza",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 0 if is_pooled else None,
        "CONN_HEALTH_CHECKS": True,
        "ATOMIC_REQUESTS": False,
        "OPTIONS": options,
    }


def redis_database(url: str, number: int) -> str:
    """The same Redis, database `number`: 0 broker, 1 canvas results, 2 live updates."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        query = urlencode({**dict(parse_qsl(parts.query)), "db": number})
        return urlunsplit(parts._replace(query=query))
    return urlunsplit(parts._replace(path=f"/{number}"))
