"""The health strip of the Overview: the few signs that tell whether work flows at all."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from executions_app import presence, wording
from executions_app.models import ProcessKind, SystemState
from scheduler_app import queues

MOST_FIRING: Final = 100
TICK_LATE: Final = timedelta(seconds=5)
TICK_LOST: Final = timedelta(seconds=30)
QUEUE_SLOW: Final = timedelta(seconds=30)
TONES: Final = {"running": "ok", "idle": "ok", "paused": "warn", "error": "bad"}


@dataclass(frozen=True, slots=True)
class Sign:
    """One field of the health strip; `tone` is ok, warn or bad."""

    label: str
    value: str
    tone: str
    detail: str = ""


def read(state: SystemState, oldest_queued: datetime | None, *, now: datetime) -> list[Sign]:
    """The signs in the order of the strip; three small statements and one word with Redis."""
    return [
        Sign("Scheduler", state.status, TONES[state.status], state.problem),
        _tick(state.scheduler_last_tick_at, now),
        _workers(now),
        _alerts(),
        _oldest_queued(oldest_queued, now),
        _database(),
        _redis(),
    ]


def _tick(last_at: datetime | None, now: datetime) -> Sign:
    if last_at is None:
        return Sign("Last tick", "never", "bad", "No beat has looked at the clock yet: start one")
    age = max(timedelta(), now - last_at)
    tone = "bad" if age > TICK_LOST else "warn" if age > TICK_LATE else "ok"
    detail = "" if tone == "ok" else "No beat looks at the clock: is one running?"
    return Sign("Last tick", f"{wording.duration(age)} ago", tone, detail)


def _workers(now: datetime) -> Sign:
    alive = Counter(one.kind for one in presence.living(now=now))
    workers, beats = alive[ProcessKind.WORKER], alive[ProcessKind.BEAT]
    detail = f"beats: {beats}, web: {alive[ProcessKind.WEB]}"
    if not workers:
        return Sign("Workers", "none", "bad", f"No worker lives: start one; {detail}")
    return Sign("Workers", f"{workers} alive", "ok", detail)


def _alerts() -> Sign:
    firing = query(
        "SELECT severity FROM alerts WHERE status = 'firing' LIMIT %(most)s", {"most": MOST_FIRING}
    )
    if not firing:
        return Sign("Alerts", "none", "ok")
    is_grave = any(severity in {"high", "critical"} for (severity,) in firing)
    shown = f"{len(firing)}+" if len(firing) == MOST_FIRING else str(len(firing))
    return Sign("Alerts", f"{shown} firing", "bad" if is_grave else "warn", "manage.py alerts list")


def _oldest_queued(since: datetime | None, now: datetime) -> Sign:
    if since is None:
        return Sign("Oldest queued", "none", "ok")
    age = max(timedelta(), now - since)
    tone = "warn" if age > QUEUE_SLOW else "ok"
    return Sign("Oldest queued", wording.duration(age), tone)


def _database() -> Sign:
    started = time.monotonic()
    query("SELECT 1", {})
    return Sign("Database", _since(started), "ok")


def _redis() -> Sign:
    started = time.monotonic()
    try:
        with queues.asking() as client:
            client.ping()
    except queues.BrokerAway as error:
        return Sign("Redis", "away", "bad", str(error))
    return Sign("Redis", _since(started), "ok")


def _since(started: float) -> str:
    milliseconds = (time.monotonic() - started) * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 1 else "< 1 ms"


def query(sql: str, parameters: dict[str, Any]) -> list[Any]:
    """The rows that a statement answers."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
