"""The SQL of every move of a step: guarded by the state seen and, where one is held, by the lease.

`steps` runs these. Whoever moves steps of one execution holds its cycle, so that two of them never
decide at the same time; the guards are for those who hold it no longer.
"""

from __future__ import annotations

from typing import Final

CLAIM: Final = """
UPDATE execution_steps s SET status = 'running', attempt = s.attempt + 1,
    lease_token = gen_random_uuid(), lease_expires_at = now() + %s * interval '1 second',
    worker_id = %s, started_at = now(), completed_at = NULL, updated_at = now()
FROM task_executions e
WHERE s.id = %s AND s.status = 'queued' AND e.id = s.execution_id
    AND e.status = 'running' AND e.lease_token = %s AND e.cancel_requested_at IS NULL
RETURNING s.id, s.execution_id, s.name, s.position, s.wave, s.config, s.is_critical, s.attempt,
    s.lease_token, e.correlation_id
"""

RENEW: Final = """
WITH input AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS i(id, token)),
held AS (
    SELECT s.id FROM execution_steps s JOIN input i ON i.id = s.id
    WHERE s.status = 'running' AND s.lease_token = i.token
    ORDER BY s.id FOR UPDATE OF s
)
UPDATE execution_steps s SET lease_expires_at = now() + %s * interval '1 second'
FROM held WHERE s.id = held.id
RETURNING s.lease_token
"""

FINISH: Final = """
UPDATE execution_steps SET status = %s, reason = %s, error_class = %s, result = %s::jsonb,
    usage = %s::jsonb, lease_token = NULL, lease_expires_at = NULL, completed_at = now(),
    updated_at = now()
WHERE id = %s AND status = 'running' AND lease_token = %s
RETURNING id
"""

HAND_BACK: Final = """
UPDATE execution_steps SET status = 'queued', reason = %s, lease_token = NULL,
    lease_expires_at = NULL, queued_at = now(), updated_at = now()
WHERE id = %s AND status = 'running' AND lease_token = %s
RETURNING id
"""

QUEUE: Final = """
UPDATE execution_steps SET status = 'queued', queued_at = now(), updated_at = now()
WHERE execution_id = %s AND id = ANY(%s) AND status = 'planned'
RETURNING id
"""

END: Final = """
UPDATE execution_steps s SET status = %s, reason = i.reason, completed_at = now(),
    updated_at = now()
FROM unnest(%s::uuid[], %s::text[]) AS i(id, reason)
WHERE s.execution_id = %s AND s.id = i.id AND s.status IN ('planned', 'queued')
RETURNING s.id, s.name, s.wave, i.reason
"""

PLAN_AGAIN: Final = """
UPDATE execution_steps SET status = 'planned', reason = '', error_class = '', result = NULL,
    attempt = 0, queued_at = NULL, started_at = NULL, completed_at = NULL, updated_at = now()
WHERE execution_id = %s AND status IN ('failed', 'skipped', 'cancelled')
RETURNING id
"""

# What failed after its call had gone out, or whose worker was lost in the middle of a call that a
# person wants made once. A step that still runs under a lease is heard of when it ends.
MAY_HAVE_HAPPENED: Final = """
SELECT name FROM execution_steps WHERE execution_id = %s AND (
    status = 'failed' AND result->>'may_repeat' = 'false'
    OR status = 'running' AND lease_expires_at < now()
        AND config #>> '{endpoint,retry,idempotent}' = 'false'
)
ORDER BY position
"""

# While a queue is long, its messages are only late: each is sent again later than before.
RESENT_AT: Final = """(s.updated_at + greatest(
    %(late)s * interval '1 second', least(s.updated_at - s.queued_at, interval '10 minutes')
))"""
# What nobody renews any more, and what stands in its queue for long: its message may be lost.
IS_OVERDUE: Final = f"""CASE s.status WHEN 'running' THEN s.lease_expires_at < now()
    ELSE {RESENT_AT} < now() END"""
OVERDUE: Final = f"""
SELECT s.id, s.execution_id, s.status, s.attempt, s.name, s.wave, s.lease_token,
    coalesce(s.config #>> '{{endpoint,retry,idempotent}}' = 'false', false)
FROM execution_steps s
WHERE s.execution_id = %(execution)s AND s.status IN ('queued', 'running') AND {IS_OVERDUE}
ORDER BY s.id
"""  # noqa: S608  constants of this module

SEND_AGAIN: Final = f"""
UPDATE execution_steps s SET updated_at = now()
WHERE s.id = ANY(%(ids)s) AND s.status = 'queued' AND {RESENT_AT} < now()
RETURNING s.id
"""  # noqa: S608  constants of this module
