"""What people are told about executions, as rows: each notice to each channel is one.

A notice is written in the transaction of its alert's change. Who sends it claims it first (a new
claim, valid until `next_at`) and holds no transaction meanwhile; who died with it leaves it to be
claimed again. So each arrives at least once, rarely twice, or ends as `failed` with the reason.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import connection

from errors_app.alerting import kinds
from errors_app.alerting.findings import ask
from errors_app.backoff import Jitter, Strategy, delay
from errors_app.models_alerts import AlertRule, NoticeEvent
from errors_app.taxonomy import Severity

MOST_ATTEMPTS: Final = 8
FIRST_WAIT_MS: Final = 5_000
LONGEST_WAIT_MS: Final = 900_000
LEASE_SECONDS: Final = 120.0
MOST_AT_ONCE: Final = 10  # of one channel
MOST_ORPHANS: Final = 500
MOST_CHANNELS: Final = 16  # at once in one process

FIRED: Final = """
WITH told AS (
    UPDATE alerts SET notified_at = now() WHERE id = ANY(%(alerts)s) RETURNING id
)
INSERT INTO alert_deliveries (id, alert_id, channel_id, channel_name, event, status, attempts,
    next_at, error, created_at)
SELECT cadenza_uuid7(), told.id, c.id, c.name, 'fired', 'pending', 0, now(), '', now()
FROM told CROSS JOIN alert_channels c
WHERE c.enabled AND c.min_severity = ANY(%(severities)s)
    AND (%(is_for_all)s OR c.name = ANY(%(channels)s))
ORDER BY told.id, c.id
ON CONFLICT (alert_id, channel_id, event) WHERE alert_id IS NOT NULL DO NOTHING
"""
RESOLVED: Final = """
INSERT INTO alert_deliveries (id, alert_id, channel_id, channel_name, event, status, attempts,
    next_at, error, created_at)
SELECT cadenza_uuid7(), d.alert_id, d.channel_id, d.channel_name, 'resolved', 'pending', 0, now(),
    '', now()
FROM alert_deliveries d
WHERE d.alert_id = ANY(%(alerts)s) AND d.event = 'fired' AND d.status <> 'failed'
ORDER BY d.id
ON CONFLICT (alert_id, channel_id, event) WHERE alert_id IS NOT NULL DO NOTHING
"""
# Of one channel a few at once: none waits behind the many of another. Of one alert in order.
CLAIM: Final = """
WITH due AS MATERIALIZED (
    SELECT one.id, one.next_at, c.id AS channel_id, c.kind, c.ciphertext
    FROM alert_channels c CROSS JOIN LATERAL (
        SELECT d.id, d.next_at FROM alert_deliveries d
        WHERE d.channel_id = c.id AND d.status = 'pending' AND d.next_at <= now()
            AND NOT EXISTS (
                SELECT FROM alert_deliveries earlier
                WHERE earlier.alert_id = d.alert_id AND earlier.channel_id = d.channel_id
                    AND earlier.status = 'pending' AND earlier.id < d.id
            )
        ORDER BY d.next_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
    ) AS one WHERE c.enabled AND c.id <> ALL(%(busy)s)
), chosen AS (
    SELECT channel_id FROM due GROUP BY channel_id ORDER BY min(next_at) LIMIT %(channels)s
)
UPDATE alert_deliveries d SET claim = %(claim)s, attempts = attempts + 1,
    next_at = now() + %(lease)s * interval '1 second'
FROM due JOIN chosen USING (channel_id) WHERE d.id = due.id
RETURNING d.id, d.alert_id, d.channel_id, d.channel_name, d.event, d.attempts, due.kind,
    due.ciphertext
"""
ALERTS: Final = """
SELECT id, rule_name, kind, severity, message, first_seen_at, resolved_at, details
FROM alerts WHERE id = ANY(%(alerts)s)
"""
SENT: Final = """
UPDATE alert_deliveries SET status = 'sent', sent_at = now(), claim = NULL, error = ''
WHERE id = %(id)s AND claim = %(claim)s AND status = 'pending' RETURNING id
"""
NOT_SENT: Final = """
UPDATE alert_deliveries SET claim = NULL, error = %(error)s,
    status = CASE WHEN %(is_last)s THEN 'failed' ELSE 'pending' END,
    next_at = now() + %(wait)s * interval '1 ms'
WHERE id = %(id)s AND claim = %(claim)s AND status = 'pending' RETURNING id
"""
GIVEN_BACK: Final = """
UPDATE alert_deliveries SET claim = NULL, attempts = attempts - 1, next_at = now()
WHERE id = %(id)s AND claim = %(claim)s AND status = 'pending' RETURNING id
"""
# Every process looks for them: each takes those that no other has, always in the same order.
ORPHANS: Final = """
WITH orphaned AS MATERIALIZED (
    SELECT id FROM alert_deliveries d
    WHERE status = 'pending' AND next_at <= now() AND (attempts >= %(most)s OR NOT EXISTS (
        SELECT FROM alert_channels c WHERE c.id = d.channel_id AND c.enabled
    ))
    ORDER BY id LIMIT %(at_once)s FOR UPDATE SKIP LOCKED
)
UPDATE alert_deliveries d SET status = 'failed', claim = NULL,
    error = CASE WHEN attempts >= %(most)s THEN 'whoever sent it was lost, time after time'
        ELSE 'the channel was removed or disabled before this was sent' END
FROM orphaned WHERE d.id = orphaned.id
"""
TEST: Final = """
INSERT INTO alert_deliveries (id, alert_id, channel_id, channel_name, event, status, attempts,
    next_at, claim, error, created_at)
VALUES (cadenza_uuid7(), NULL, %(channel)s, %(name)s, 'test', 'pending', 1,
    now() + %(lease)s * interval '1 second', %(claim)s, '', now())
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notice that this process is to send now."""

    id: UUID
    claim: UUID
    alert_id: UUID | None
    channel_id: UUID
    channel_name: str
    event: NoticeEvent
    attempts: int
    kind: str
    ciphertext: str


def tell_fired(rule: AlertRule, alerts: Sequence[UUID]) -> None:
    """Write the notices of alerts that nobody was told about yet."""
    if alerts:
        severities = kinds.ORDER[: kinds.ORDER.index(Severity(rule.severity)) + 1]
        _write(
            FIRED,
            {
                "alerts": list(alerts),
                "severities": [one.value for one in severities],
                "is_for_all": not rule.channels,
                "channels": list(rule.channels),
            },
        )


def tell_resolved(alerts: Sequence[UUID]) -> None:
    """Write the recovery notices to those who were told, or are about to be."""
    if alerts:
        _write(RESOLVED, {"alerts": list(alerts)})


def claim(
    *, busy: Sequence[UUID] = (), most: int = MOST_AT_ONCE, channels: int = MOST_CHANNELS
) -> list[Claimed]:
    """Take notices that are due, `most` of each of so many channels; of the busy ones none."""
    _write(ORPHANS, {"most": MOST_ATTEMPTS, "at_once": MOST_ORPHANS})
    token = uuid4()
    values = {
        "busy": list(busy),
        "most": most,
        "channels": channels,
        "claim": token,
        "lease": LEASE_SECONDS,
    }
    return [
        Claimed(id_, token, alert_id, channel_id, name, NoticeEvent(event), tries, kind, secret)
        for id_, alert_id, channel_id, name, event, tries, kind, secret in ask(CLAIM, values)
    ]


def begin_test(channel_id: UUID, *, name: str, kind: str, ciphertext: str) -> Claimed:
    """Write down a test that is sent now; if its sender dies, it is sent by whoever looks next."""
    token = uuid4()
    values = {"channel": channel_id, "name": name, "claim": token, "lease": LEASE_SECONDS}
    id_ = ask(TEST, values)[0][0]
    return Claimed(id_, token, None, channel_id, name, NoticeEvent.TEST, 1, kind, ciphertext)


def alerts_of(claimed: Sequence[Claimed]) -> dict[UUID, tuple[Any, ...]]:
    """What these notices are about, as it stands now."""
    wanted = [one.alert_id for one in claimed if one.alert_id is not None]
    return {row[0]: row for row in ask(ALERTS, {"alerts": wanted})} if wanted else {}


def sent(claimed: Claimed) -> None:
    """It has arrived, as far as the channel says."""
    ask(SENT, {"id": claimed.id, "claim": claimed.claim})


def not_sent(claimed: Claimed, reason: str, *, rng: random.Random) -> None:
    """It has not: it is tried again later, or given up, with the reason."""
    is_last = claimed.attempts >= MOST_ATTEMPTS or claimed.event is NoticeEvent.TEST
    wait = delay(
        claimed.attempts,
        strategy=Strategy.EXPONENTIAL,
        base_ms=FIRST_WAIT_MS,
        cap_ms=LONGEST_WAIT_MS,
        jitter=Jitter.FULL,
        rng=rng,
    )
    values = {
        "id": claimed.id,
        "claim": claimed.claim,
        "error": reason,
        "is_last": is_last,
        "wait": wait / timedelta(milliseconds=1),
    }
    ask(NOT_SENT, values)


def give_back(claimed: Claimed) -> None:
    """Nobody has tried to send it: it is due at once, and has an attempt no less."""
    ask(GIVEN_BACK, {"id": claimed.id, "claim": claimed.claim})


def _write(statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
