"""The health strip of the Overview: the few signs that tell whether work flows at all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from executions_app import ids, wording
from executions_app.models import SystemState
from scheduler_app import queues

SEEN_LATELY: Final = timedelta(minutes=1)
NEWEST: Final = timedelta(hours=1)
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
    """The signs in the order of the strip; two small statements and one word with Redis."""
    return [
        Sign("Scheduler", state.status, TONES[state.status], state.problem),
        _tick(state.scheduler_last_tick_at, now),
        _workers(now),
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
    rows = query(
        """
        SELECT count(DISTINCT worker_id) FROM (
            (SELECT worker_id FROM task_executions
             WHERE status = 'running' AND heartbeat_at > %(since)s LIMIT 1000)
            UNION ALL
            (SELECT worker_id FROM (
                SELECT worker_id, started_at FROM task_executions
                WHERE id >= %(floor)s ORDER BY id DESC LIMIT 1000) AS newest
             WHERE started_at > %(since)s)
        ) AS seen WHERE worker_id <> ''
        """,
        {"since": now - SEEN_LATELY, "floor": ids.floor(now - NEWEST)},
    )
    number = int(rows[0][0])
    return Sign("Workers", f"{number} seen", "ok", "Those that ran something in the last minute")


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
