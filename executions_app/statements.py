"""The SQL of every move of an execution, composed with the event that tells of it.

`ledger` and `lifecycle` run these. Each statement takes arrays (one element per execution), locks
its rows in id order before it changes them, and moves only rows that are still as they were seen.

Rows are named by id, so they are found by id: a LATERAL with a lock cannot be turned into a join,
and a state inside CASE matches no partial index. Otherwise a plan made while a queue was empty
reads every queued row for each claim once it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from executions_app.events import FRESH_ID, insert_select

AGENT: Final = "'agent', snapshot->'task_config'->>'agent'"
NAMED: Final = "'number', number, 'name', snapshot->>'name'"
STARTED: Final = f"'status', 'running', {NAMED}, 'attempt', attempt, 'worker', worker_id"
LEFT_TYPE: Final = """CASE status WHEN 'pending' THEN 'execution:retry_scheduled'
    WHEN 'queued' THEN 'execution:handed_back' ELSE 'execution:' || status END"""
LEFT: Final = """'status', status, 'outcome', outcome, 'number', number, 'name', name,
    'attempt', attempt,
    'due_at', due_at,
    'duration_ms', CASE WHEN completed_at IS NOT NULL THEN duration_ms END"""
LABELS: Final = ("limit_key", "unique_key", "expires_at")


def creating(source: str, *, held_by: str = "''", labels: Sequence[str] = ()) -> str:
    """The CTEs `created` (id) and `told`: the rows of `source` become executions, with their event.

    `source` answers id, schedule_id, owner_id, snapshot, trigger, parameters, nominal_at, due_at,
    status (pending or queued), priority, max_attempts and correlation_id, under these names, and
    the `labels` among LABELS. The event takes the id of its execution: random bits are dear, and
    no other is born with it.
    """
    also = "".join(f", {one}" for one in labels)
    return f"""
created AS (
    INSERT INTO task_executions (
        id, schedule_id, owner_id, snapshot, trigger, parameters, nominal_at, due_at, status,
        outcome, priority, queue, attempt, max_attempts, lease_extensions, worker_id,
        published_at, publish_count, slice_size, travels_alone, queued_at, progress,
        result_truncated, held_by, correlation_id, created_at, updated_at{also}
    )
    SELECT id, schedule_id, owner_id, snapshot, trigger, parameters, nominal_at,
        due_at, status, '', priority, priority, 0, max_attempts, 0, '',
        CASE WHEN status = 'queued' THEN now() END, (status = 'queued')::int, 0, false,
        CASE WHEN status = 'queued' THEN greatest(now(), due_at) END, '{{}}', false, {held_by},
        correlation_id, now(), now(){also}
    FROM ({source}) AS new
    RETURNING id, number, schedule_id, owner_id, status, snapshot->>'name' AS name
), told AS ({
        insert_select(
            type_="'execution:queued'",
            source="created",
            data="'status', status, 'number', number, 'name', name",
            where="status = 'queued'",
            id_="id",
        )
    })"""


CREATE: Final = f"""
WITH {
    creating(
        '''SELECT id, schedule_id, owner_id, snapshot::jsonb AS snapshot, trigger,
            parameters::jsonb AS parameters, nominal_at, due_at, status, priority, max_attempts,
            correlation_id, held_by, limit_key, unique_key, expires_at
        FROM unnest(
            %s::uuid[], %s::uuid[], %s::int[], %s::text[], %s::text[], %s::text[],
            %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[], %s::int[], %s::text[],
            %s::text[], %s::text[], %s::text[], %s::timestamptz[]
        ) AS n(id, schedule_id, owner_id, snapshot, trigger, parameters, nominal_at, due_at,
               status, priority, max_attempts, correlation_id, held_by, limit_key, unique_key,
               expires_at)''',
        held_by="held_by",
        labels=LABELS,
    )
}
SELECT id, number FROM created
"""

CLAIM: Final = f"""
WITH input AS (
    SELECT * FROM unnest(%s::uuid[], %s::text[], %s::int[]) AS i(id, worker_id, slice_size)
), free AS (
    SELECT i.id FROM (SELECT id FROM input ORDER BY id) i CROSS JOIN LATERAL (
        SELECT FROM task_executions e
        WHERE e.id = i.id AND CASE e.status WHEN 'queued' THEN e.attempt < e.max_attempts
            AND (e.attempt > 0 OR coalesce(e.expires_at > now(), true)) END
        FOR UPDATE
    ) AS locked
), claimed AS (
    UPDATE task_executions e SET
        status = 'running', outcome = '', attempt = e.attempt + 1,
        lease_token = cadenza_uuid7_of((SELECT gen_random_uuid()), e.id),
        lease_expires_at = now() + %s * interval '1 second',
        heartbeat_at = now(), lease_extensions = 0, worker_id = i.worker_id,
        slice_size = i.slice_size, usage = NULL, updated_at = now(),
        started_at = greatest(now(), least(e.due_at, now() + interval '2 seconds'))
    FROM input i JOIN free USING (id)
    WHERE e.id = i.id
    RETURNING e.id, e.number, e.schedule_id, e.owner_id, e.snapshot, e.parameters, e.trigger,
        e.nominal_at, e.attempt, e.max_attempts, e.lease_token, e.started_at, e.worker_id,
        e.correlation_id, e.cancel_requested_at IS NOT NULL AS cancel_requested, e.due_at
), told AS ({
    insert_select(
        type_="'execution:started'",
        source="claimed",
        data=STARTED,
    )
}), told_agents AS ({
    insert_select(
        type_="'agent:started'",
        source="claimed",
        data=f"{NAMED}, {AGENT}, 'attempt', attempt",
        where="snapshot->>'task_type' = 'agent'",
    )
})
SELECT id, number, schedule_id, owner_id, snapshot, parameters, trigger, nominal_at, attempt,
    max_attempts, lease_token, started_at, worker_id, correlation_id, cancel_requested,
    extract(epoch FROM due_at)::float8, extract(epoch FROM clock_timestamp())::float8
FROM claimed
"""

LEAVE: Final = f"""
WITH input AS (
    SELECT * FROM unnest(
        %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::bool[], %s::timestamptz[],
        %s::int[], %s::uuid[], %s::bool[], %s::bool[], %s::float8[], %s::float8[], %s::text[]
    ) AS i(id, token, status, outcome, result, result_truncated, due_at, attempts_back,
           last_error_id, is_dead_letter, travels_alone, duration_ms, began_after_ms, usage)
), held AS (
    SELECT i.id, i.token FROM (SELECT id, token FROM input ORDER BY id) i CROSS JOIN LATERAL (
        SELECT FROM task_executions e
        WHERE e.id = i.id AND CASE e.status WHEN 'running' THEN e.lease_token = i.token END
        FOR UPDATE
    ) AS locked
), moved AS (
    UPDATE task_executions e SET
        status = i.status, outcome = i.outcome,
        result = coalesce(i.result::jsonb, e.result),
        result_truncated = i.result_truncated, usage = i.usage::jsonb,
        due_at = coalesce(i.due_at, e.due_at),
        attempt = e.attempt - i.attempts_back,
        last_error_id = coalesce(i.last_error_id, e.last_error_id),
        travels_alone = e.travels_alone OR i.travels_alone,
        lease_token = NULL, lease_expires_at = NULL,
        started_at = e.started_at + i.began_after_ms * interval '1 millisecond',
        published_at = NULL, publish_count = 0,
        queued_at = CASE WHEN i.status = 'queued' THEN now() ELSE e.queued_at END,
        completed_at = CASE WHEN i.status IN ('completed', 'failed', 'cancelled') THEN now() END,
        dead_letter_at = CASE WHEN i.is_dead_letter THEN now() ELSE e.dead_letter_at END,
        updated_at = now()
    FROM input i JOIN held USING (id, token)  -- a late writer may be in the holder's batch
    WHERE e.id = i.id
    RETURNING e.id, e.number, e.schedule_id, e.owner_id, e.snapshot->>'name' AS name,
        e.snapshot->>'task_type' = 'agent' AS is_agent,
        e.snapshot->'task_config'->>'agent' AS agent,
        e.status, e.outcome, e.attempt, e.due_at, e.completed_at, i.token AS held_token,
        round(coalesce(
            i.duration_ms, greatest(0, extract(epoch FROM now() - e.started_at))::float8 * 1000
        ))::bigint AS duration_ms
), inbox AS (
    INSERT INTO outcome_inbox
        (id, execution_id, schedule_id, status, outcome, duration_ms, completed_at)
    SELECT {FRESH_ID}, id, schedule_id, status, outcome, duration_ms, completed_at
    FROM moved WHERE completed_at IS NOT NULL
), told AS ({
    insert_select(
        type_=LEFT_TYPE,
        source="moved",
        data=LEFT,
    )
}), told_agents AS ({
    insert_select(
        type_="CASE status WHEN 'completed' THEN 'agent:completed' ELSE 'agent:failed' END",
        source="moved",
        data="'number', number, 'name', name, 'agent', agent, 'status', status, 'outcome', outcome",
        where="is_agent AND completed_at IS NOT NULL",
    )
})
SELECT id, held_token FROM moved
"""


RENEW: Final = """
WITH input AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS i(id, token)),
held AS (
    SELECT i.id FROM (SELECT id, token FROM input ORDER BY id) i CROSS JOIN LATERAL (
        SELECT FROM task_executions e
        WHERE e.id = i.id AND CASE e.status WHEN 'running' THEN e.lease_token = i.token END
        FOR UPDATE
    ) AS locked
)
UPDATE task_executions e SET heartbeat_at = now(), lease_extensions = e.lease_extensions + 1,
    -- A cycle that took the lease over holds it until its deadline.
    lease_expires_at = greatest(e.lease_expires_at, now() + %s * interval '1 second')
FROM held WHERE e.id = held.id
RETURNING e.id
"""

# What waits for a person has begun: its attempt is told with its end.
END_UNSTARTED: Final = f"""
WITH free AS (
    SELECT id, status = 'waiting' AS has_begun FROM task_executions
    WHERE id = ANY(%s::uuid[]) AND status IN ('pending', 'queued', 'waiting')
    ORDER BY id FOR UPDATE
), moved AS (
    UPDATE task_executions e SET status = 'cancelled', outcome = %s, completed_at = now(),
        held_by = '', updated_at = now()
    FROM free WHERE e.id = free.id
    RETURNING e.*, free.has_begun
), inbox AS (
    INSERT INTO outcome_inbox
        (id, execution_id, schedule_id, status, outcome, duration_ms, completed_at)
    SELECT cadenza_uuid7(), id, schedule_id, status, outcome, NULL, completed_at FROM moved
), told AS ({
    insert_select(
        type_="'execution:cancelled'",
        source="moved",
        data=f"'status', status, 'outcome', outcome, {NAMED}",
        where="NOT has_begun",
    )
}), told_begun AS ({
    insert_select(
        type_="'execution:cancelled'",
        source="moved",
        data=f"'status', status, 'outcome', outcome, {NAMED}, 'attempt', attempt",
        where="has_begun",
    )
}), told_agents AS ({
    insert_select(
        type_="'agent:failed'",
        source="moved",
        data=f"{NAMED}, {AGENT}, 'status', status, 'outcome', outcome",
        where="has_begun",
    )
})
SELECT id FROM moved
"""

ASK_TO_STOP: Final = f"""
WITH live AS (
    SELECT id FROM task_executions WHERE id = ANY(%s::uuid[]) AND status = 'running'
    ORDER BY id FOR UPDATE
), asked AS (
    UPDATE task_executions e SET cancel_requested_at = coalesce(e.cancel_requested_at, now()),
        updated_at = now()
    FROM live WHERE e.id = live.id
    RETURNING e.*
), told AS ({
    insert_select(
        type_="'execution:cancel_requested'",
        source="asked",
        data=f"'status', status, {NAMED}",
    )
})
SELECT id FROM asked
"""

REQUEUE: Final = f"""
WITH input AS (SELECT * FROM unnest(%s::uuid[], %s::int[]) AS i(id, budget)),
failed AS (
    SELECT id FROM task_executions WHERE id = ANY(%s::uuid[]) AND status = 'failed'
    ORDER BY id FOR UPDATE
), moved AS (
    UPDATE task_executions e SET status = 'pending', outcome = '', due_at = now(),
        max_attempts = e.attempt + i.budget, dead_letter_at = NULL, completed_at = NULL,
        cancel_requested_at = NULL, discarded_at = NULL, result = NULL, result_truncated = false,
        updated_at = now()
    FROM failed JOIN input i USING (id) WHERE e.id = failed.id
    RETURNING e.*
), told AS ({
    insert_select(
        type_="'execution:requeued'",
        source="moved",
        data=f"'status', status, {NAMED}, 'attempt', attempt",
    )
})
SELECT id FROM moved
"""
