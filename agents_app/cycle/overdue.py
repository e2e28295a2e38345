"""Which cycles need somebody: what a beat reads of them, and who of several beats sees to one.

Every move of a cycle says when it is to be looked at next (`look_at`), and a look finds only those
whose instant has come, the longest overdue first, so many at a time: however many run, they cost
nothing while they are well. Whoever looks at one has it for itself until the next instant. What
holds a stage or a step renews its lease without touching `look_at`, so one that works for longer is
looked at once per lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import DateTimeField, DurationField, Value
from django.db.models.expressions import Combinable, RawSQL
from django.db.models.functions import Now

from config.env import env
from executions_app.step_statements import IS_OVERDUE, RESENT_AT

AGAIN_SECONDS: Final = 10.0  # then somebody looks whether there is still an agent to wait for
LEFT_SECONDS: Final = 1.0  # the least between two looks at one cycle
LONGEST: Final = "interval '10 minutes'"


class Lack(StrEnum):
    """What a cycle lacks: who sees to that is `watchdog`."""

    NOTHING = "nothing"
    OVER = "over"
    """it has ended, a step of it is still said to run, and nobody renews it"""
    EXECUTION = "execution"
    """its execution has ended, or is tried by somebody else"""
    STOP = "stop"
    """its time is over, and nothing of it runs that could hear so"""
    AGENT = "agent"
    """it waits for an agent: its time limit begins once it has one"""
    STAGE = "stage"
    """nobody carries out its stage: the message was lost, or who held it"""
    STEPS = "steps"
    """a step of it has lost its worker, or its message"""
    NEXT = "next"
    """no step is under way, and the stage goes on all the same"""


@dataclass(frozen=True, slots=True)
class Found:
    """One cycle that is the caller's to see to."""

    id: UUID
    execution_id: UUID
    lack: Lack


# Of those that wait for an agent few at a time: each costs more, and a free place finds them.
WORKING: Final = "stage <> 'wait'"
WAITING: Final = "stage = 'wait'"
# A message that nobody took is sent again each time later than before: while a queue is long, its
# messages are only late. `OFFSET 0`: the steps are found by their execution, whatever is known of
# how many there are.
TAKE: Final = f"""
WITH due AS (
    SELECT id, execution_id, token, status, stage, stage_token, stage_expires_at, deadline,
        updated_at, coalesce(stage_expires_at >= now(), false) AS is_held
    FROM cycles WHERE look_at <= now() AND {{of}}
    ORDER BY look_at LIMIT %(most)s
    FOR NO KEY UPDATE SKIP LOCKED
), seen AS (
    SELECT due.*, steps.*,
        coalesce(e.status = 'running' AND e.lease_token = due.token, false) AS is_ours,
        due.updated_at + %(late)s * interval '1 second' AS late_at
    FROM due LEFT JOIN task_executions e ON e.id = due.execution_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS live, count(*) FILTER (WHERE {IS_OVERDUE}) AS overdue,
            count(*) FILTER (
                WHERE s.status = 'running' AND s.lease_expires_at >= now()
            ) AS at_work,
            min(CASE s.status WHEN 'running' THEN s.lease_expires_at
                ELSE {RESENT_AT} END) AS next_at
        FROM (
            SELECT status, lease_expires_at, updated_at, queued_at FROM execution_steps
            WHERE execution_id = due.execution_id OFFSET 0
        ) AS s WHERE s.status IN ('queued', 'running')
    ) AS steps
), judged AS (
    SELECT *, CASE
        WHEN status <> 'running' THEN CASE WHEN overdue > 0 THEN 'over' ELSE 'nothing' END
        WHEN NOT is_ours THEN 'execution'
        WHEN stage = 'wait' THEN 'agent'
        WHEN deadline < now() AND NOT is_held AND at_work = 0 THEN 'stop'
        WHEN stage = 'execute' THEN CASE WHEN overdue > 0 THEN 'steps'
            WHEN live = 0 AND late_at < now() THEN 'next' ELSE 'nothing' END
        WHEN is_held OR stage_token IS NULL AND late_at >= now() THEN 'nothing'
        ELSE 'stage' END AS lack
    FROM seen
), moved AS (
    UPDATE cycles c SET
        look_at = CASE j.lack
            WHEN 'nothing' THEN CASE WHEN j.status <> 'running' AND j.live = 0 THEN NULL
                ELSE greatest(
                    now() + {LEFT_SECONDS} * interval '1 second',
                    least(j.deadline, CASE WHEN j.stage = 'execute' OR j.status <> 'running'
                        THEN coalesce(j.next_at, j.late_at)
                        ELSE coalesce(j.stage_expires_at, j.late_at) END)
                ) END
            WHEN 'stage' THEN now() + greatest(
                %(late)s * interval '1 second', CASE WHEN j.stage_token IS NULL
                    THEN least(2 * (now() - j.updated_at), {LONGEST}) END
            )
            WHEN 'agent' THEN now() + {AGAIN_SECONDS} * interval '1 second'
            ELSE now() + %(late)s * interval '1 second' END,
        updated_at = CASE j.lack WHEN 'stage' THEN now() ELSE c.updated_at END,
        redriven = c.redriven + (j.lack = 'stage' AND j.stage_token IS NOT NULL)::int,
        stage_token = CASE j.lack WHEN 'stage' THEN NULL ELSE c.stage_token END,
        stage_expires_at = CASE j.lack WHEN 'stage' THEN NULL ELSE c.stage_expires_at END
    FROM judged j WHERE c.id = j.id
    RETURNING c.id, c.execution_id, j.lack
)
SELECT * FROM moved WHERE lack <> 'nothing'
"""  # noqa: S608  constants of this package
TAKE_WORKING: Final = TAKE.format(of=WORKING)
TAKE_WAITING: Final = TAKE.format(of=WAITING)
# Who asks an execution to stop knows of no cycle. Those of which nothing runs hear it here.
ASKED_TO_STOP: Final = """
WITH asked AS MATERIALIZED (
    SELECT id, lease_token FROM task_executions
    WHERE status = 'running' AND cancel_requested_at IS NOT NULL
)
SELECT c.id, c.execution_id, 'stop'
FROM asked JOIN cycles c ON c.execution_id = asked.id AND c.token = asked.lease_token
WHERE c.status = 'running' AND (c.stage_token IS NULL OR c.stage_expires_at < now())
    AND NOT EXISTS (
        SELECT FROM execution_steps s
        WHERE s.execution_id = c.execution_id AND s.status = 'running'
            AND s.lease_expires_at >= now()
    )
ORDER BY c.id LIMIT %(most)s
"""


def working(*, most: int) -> list[Found]:
    """Take up to `most` cycles that have lacked something for a while, the longest first."""
    return _found(TAKE_WORKING, most=most, late=env.rescue_seconds)


def waiting(*, most: int) -> list[Found]:
    """Take up to `most` of those that wait for an agent since long, or since somebody looked."""
    return _found(TAKE_WAITING, most=most, late=env.rescue_seconds)


def asked_to_stop(*, most: int) -> list[Found]:
    """Cycles that somebody wants stopped, where nothing runs that could hear of it."""
    return _found(ASKED_TO_STOP, most=most)


def soon() -> Combinable:
    """When to look at a cycle that has just moved: once its messages are late."""
    return after(env.rescue_seconds)


def after(seconds: float) -> Combinable:
    """So long from now."""
    return Now() + Value(timedelta(seconds=seconds), output_field=DurationField())


def once_over(execution_id: UUID) -> RawSQL:
    """When to look at a cycle that ends: never, but for steps that are still said to run."""
    return RawSQL(
        "(SELECT max(lease_expires_at) FROM execution_steps"
        " WHERE execution_id = %s AND status = 'running')",
        [execution_id],
        output_field=DateTimeField(),
    )


def _found(statement: str, **words: Any) -> list[Found]:
    with connection.cursor() as cursor:
        cursor.execute(statement, words)
        rows: Sequence[tuple[UUID, UUID, str]] = cursor.fetchall()
    return [Found(id_, execution_id, Lack(lack)) for id_, execution_id, lack in rows]
