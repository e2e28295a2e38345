"""How registered endpoints have been doing, from the steps that called them and their breakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection

from agents_app import calling_address
from agents_app.models import Endpoint
from executions_app import ids
from executions_app.states import BreakerStatus

LATELY: Final = timedelta(days=1)
# `config` holds the endpoint's snapshot as `calling.snapshot_of` made it.
FIGURES: Final = """
SELECT e.id, s.steps, s.failed, s.latency_ms, s.p95_ms, s.last_success_at, s.last_failure_at,
    s.last_failure, COALESCE(b.state, %s), b.since, b.next_probe_at, COALESCE(b.reason, '')
FROM unnest(%s::uuid[], %s::text[]) WITH ORDINALITY AS e(id, key, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS steps,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        avg(ms) FILTER (WHERE status = 'completed') AS latency_ms,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) FILTER (WHERE status = 'completed')
            AS p95_ms,
        max(completed_at) FILTER (WHERE status = 'completed') AS last_success_at,
        max(completed_at) FILTER (WHERE status = 'failed') AS last_failure_at,
        (array_agg(reason ORDER BY completed_at DESC) FILTER (WHERE status = 'failed'))[1]
            AS last_failure
    FROM (
        SELECT status, completed_at, reason,
            extract(epoch FROM completed_at - started_at) * 1000 AS ms
        FROM execution_steps
        WHERE id >= %s AND config->'endpoint'->>'id' = e.id::text
            AND status IN ('completed', 'failed')
    ) AS called
) AS s
LEFT JOIN breakers b ON b.key = e.key
ORDER BY e.place
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointHealth:
    """One endpoint over the last day; a step that tried several times counts once, as it ended.

    `success_rate` from 0 to 1, latencies over the steps that went well; None without such steps.
    `state`, `since`, `next_probe_at` and `reason` are those of its breaker's last transition.
    """

    id: UUID
    steps: int
    failed: int
    success_rate: float | None
    latency_ms: int | None
    p95_ms: int | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str
    state: str
    since: datetime | None
    next_probe_at: datetime | None
    reason: str


def of(endpoints: Sequence[Endpoint], *, now: datetime) -> list[EndpointHealth]:
    """How these have been doing for a day, in the same order; one query however many they are."""
    keys = [calling_address.breaker_key(one.url) for one in endpoints]
    given: list[Any] = [
        BreakerStatus.CLOSED.value,
        [one.id for one in endpoints],
        keys,
        ids.floor(now - LATELY),
    ]
    with connection.cursor() as cursor:
        cursor.execute(FIGURES, given)
        return [_health(row) for row in cursor.fetchall()]


def _health(row: Sequence[Any]) -> EndpointHealth:
    id_, steps, failed, latency_ms, p95_ms, succeeded_at, failed_at, failure, *breaker = row
    state, since, next_probe_at, reason = breaker
    return EndpointHealth(
        id=id_,
        steps=steps,
        failed=failed,
        success_rate=round(1 - failed / steps, 4) if steps else None,
        latency_ms=None if latency_ms is None else round(latency_ms),
        p95_ms=None if p95_ms is None else round(p95_ms),
        last_success_at=succeeded_at,
        last_failure_at=failed_at,
        last_failure=failure or "",
        state=state,
        since=since,
        next_probe_at=next_probe_at,
        reason=reason,
    )
