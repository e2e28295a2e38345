"""Looks at what carries executions on: processes, breakers, the disk, the memory of Redis."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import redis
from django.conf import settings

from config.env import env
from errors_app.alerting.findings import LOOKED, Finding, Scope, ask, span
from errors_app.alerting.kinds import BreakerOpen, NoSpace, ProcessGone
from errors_app.breakers import store
from executions_app import presence
from executions_app.states import BreakerStatus

REDIS_SECONDS: Final = 2.0
# A process is made good by one of its role that started after it fell silent, wherever that runs:
# of those that are gone together each needs another.
GONE: Final = """
WITH gone AS (
    SELECT id, kind, split_part(name, '@', 1) AS role, name, host, pid, seen_at FROM processes
    WHERE kind IN ('beat', 'worker') AND stopped_at IS NULL AND stopping_at IS NULL
        AND seen_at < now() - %(silent)s * interval '1 second'
)
SELECT kind, role, count(*), max(seen_at), (array_agg(name ORDER BY seen_at DESC))[1],
    (array_agg(pid ORDER BY seen_at DESC))[1], extract(epoch FROM now() - max(seen_at)) * 1000
FROM gone
WHERE (SELECT count(*) FROM gone g
       WHERE g.kind = gone.kind AND g.role = gone.role AND g.seen_at >= gone.seen_at)
    > (SELECT count(*) FROM processes p
       WHERE p.kind = gone.kind AND split_part(p.name, '@', 1) = gone.role
           AND p.started_at > gone.seen_at)
GROUP BY kind, role ORDER BY kind, role LIMIT {most}
"""
NONE: Final = """
SELECT wanted.kind, extract(epoch FROM now() - coalesce(
    (SELECT max(seen_at) FROM processes p WHERE p.kind = wanted.kind),
    (SELECT min(started_at) FROM processes))) * 1000
FROM (VALUES ('beat'), ('worker')) AS wanted(kind)
WHERE NOT EXISTS (
    SELECT FROM processes p WHERE p.kind = wanted.kind AND p.stopped_at IS NULL
        AND p.seen_at >= now() - %(silent)s * interval '1 second'
)
ORDER BY wanted.kind
"""
BREAKERS: Final = """
SELECT key, state, since, reason, extract(epoch FROM now() - since) * 1000 FROM breakers
WHERE state <> 'closed' AND since <= now() - %(lasting)s * interval '1 ms'
ORDER BY key = ANY(%(firing)s::text[]) DESC, since DESC LIMIT {most}
"""


def process_gone(wanted: ProcessGone, _scope: Scope) -> list[Finding]:
    """Beats and workers that fell silent and were not replaced; a kind of which there is none."""
    values = {"silent": presence.until_gone().total_seconds()}
    found = [
        Finding(
            key=f"{kind}:{role}",
            message=f"{kind.capitalize()} {name!r} (pid {pid}) is gone: silent for {span(silent)}"
            + (f"; so are {number - 1} more of its role" if number > 1 else ""),
            details={"kind": kind, "role": role, "gone": number, "seen_at": seen_at.isoformat()},
        )
        for kind, role, number, seen_at, name, pid, silent in ask(GONE.format(most=LOOKED), values)
    ]
    found += [
        Finding(
            key=f"{kind}:none",
            message=f"There is no {kind}: the last one was there {span(since)} ago",
            details={"kind": kind},
        )
        for kind, since in ask(NONE, values)
        if since is not None and since > wanted.none_for_ms
    ]
    return found


def breaker_open(wanted: BreakerOpen, scope: Scope) -> list[Finding]:
    """Endpoints that are not called for the time being."""
    rows = ask(BREAKERS.format(most=scope.most), {**scope.values, "lasting": wanted.for_ms})
    longest = store.rules().cooldown_most_ms
    closed = _closed_since([key for key, _, _, _, lasts in rows if lasts > longest])
    return [
        Finding(
            key=key,
            message=f"The breaker of {key} is {state.replace('_', ' ')} for {span(lasts)}: "
            f"{reason[:200]}",
            details={"key": key, "state": state, "since": since.isoformat()},
        )
        for key, state, since, reason, lasts in rows
        if key not in closed
    ]


def _closed_since(keys: Sequence[str]) -> set[str]:
    """Those that Redis knows as closed, or not at all, because nobody calls them any more.

    A row is corrected by who calls its endpoint: asked is about those that stood still for longer
    than any cooldown. While Redis is away the row is all that is known.
    """
    if not keys:
        return set()
    try:
        found = store.Store(store.client(), store.rules()).look(keys)
    except store.StoreAway:
        return set()
    return {key for key, one in found.items() if one.state is BreakerStatus.CLOSED}


def no_space(wanted: NoSpace, _scope: Scope) -> list[Finding]:
    """The disk of the embedded services, where this process sees it; and what Redis says."""
    return [*_disk(wanted), *_redis(wanted)]


def _disk(wanted: NoSpace) -> Iterator[Finding]:
    folder = Path(settings.SERVICES.data_dir)
    if env.database_url and not (folder / "postgres").is_dir():
        return  # PostgreSQL keeps its data elsewhere
    if not folder.is_dir():
        return
    usage = shutil.disk_usage(folder)
    if usage.free < wanted.min_free_bytes:
        yield Finding(
            key="disk",
            message=f"{usage.free / 1e9:.2f} GB are free where PostgreSQL keeps its data; it stops "
            "on a full disk",
            details={"free_bytes": usage.free, "total_bytes": usage.total},
        )


def _redis(wanted: NoSpace) -> Iterator[Finding]:
    client = redis.Redis.from_url(
        settings.REDIS_BROKER_URL,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
    )
    try:
        said: Any = client.info()
    except (redis.RedisError, OSError):
        return  # that it is away is another matter, and known to the Overview
    finally:
        client.close()
    most = int(said.get("maxmemory") or 0)
    used = int(said.get("used_memory") or 0)
    if most and used * 100 >= wanted.redis_percent * most:
        yield Finding(
            key="redis memory",
            message=f"Redis uses {100 * used / most:.0f} % of its memory; it refuses to write "
            "when that is full",
            details={"used_bytes": used, "max_bytes": most},
        )
    statuses = ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
    failed = [name for name in statuses if said.get(name, "ok") != "ok"]
    if failed:
        yield Finding(
            key="redis disk",
            message="Redis could not write to its disk and may refuse to write (MISCONF): "
            + ", ".join(failed),
            details={"failed": failed},
        )
