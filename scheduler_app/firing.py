"""Writes down what was decided: fire records, executions, events and next runs, in one statement.

Runs in the transaction that has locked the schedules. A fire that is recorded already is left as
it is, and not run; that makes a round which is repeated, here or in another beat, harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from errors_app.backoff import RetryPolicy
from executions_app import prepared
from executions_app.statements import creating
from executions_app.states import ExecutionStatus, Trigger
from scheduler_app.fires import Decision, Planned

# The same as `fires.snapshot`, where the row is: most of it never leaves PostgreSQL.
SNAPSHOT: Final = """jsonb_build_object('name', s.name, 'task_type', s.task_type,
    'task_config', s.task_config, 'timeout_ms', s.timeout_ms, 'retry_policy', s.retry_policy,
    'overlap_policy', s.overlap_policy, 'version', s.version)
    || CASE WHEN s.task_type = 'agent' THEN jsonb_build_object(
        'timezone', s.timezone, 'schedule_config', s.schedule_config
    ) ELSE '{}' END"""
MAX_RETRIES: Final = RetryPolicy.model_fields["max_retries"].default
ADVANCE: Final = """
    UPDATE task_schedules s SET
        next_run_at = i.next_run_at, last_run_at = coalesce(i.last_run_at, s.last_run_at),
        missed_count = s.missed_count + i.missed, fired_count = s.fired_count + i.runs
    FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::bigint[])
        AS i(id, next_run_at, last_run_at, missed, runs)
    WHERE s.id = i.id
"""


def executions(*, source: str, status: str, due_at: str, also: str = "") -> str:
    """The query that answers an execution for each fire of `source` that has one, as SQL."""
    return f"""
    SELECT r.execution_id AS id, s.id AS schedule_id, s.owner_id, {SNAPSHOT} AS snapshot,
        '{Trigger.TIME}' AS trigger, '{{}}'::jsonb AS parameters, r.nominal_at,
        {due_at} AS due_at, {status} AS status, s.priority,
        coalesce((s.retry_policy->>'max_retries')::int, {MAX_RETRIES}) + 1 AS max_attempts,
        r.execution_id::text AS correlation_id{also and f", {also}"}
    FROM {source} JOIN task_schedules s ON s.id = r.schedule_id
    WHERE r.execution_id IS NOT NULL
"""  # noqa: S608  composed of constants of this package only, like all that follow


def recording(source: str) -> str:
    """The statement that records the fires of `source`, each only once, as SQL."""
    return f"""
    INSERT INTO fire_records (id, schedule_id, nominal_at, cause, nominal_until, count, reason,
                              execution_id, lateness_ms, created_at)
    SELECT coalesce(execution_id, cadenza_uuid7()), schedule_id, nominal_at, '', nominal_until,
        count, reason, execution_id, greatest(0, extract(epoch FROM now() - nominal_at) * 1000),
        now()
    FROM ({source}) AS f
    ON CONFLICT (schedule_id, nominal_at, cause) DO NOTHING
    RETURNING schedule_id, nominal_at, execution_id
"""  # noqa: S608


FIRES: Final = """
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[], %s::timestamptz[],
                         %s::bigint[], %s::text[])
        AS f(schedule_id, execution_id, nominal_at, nominal_until, count, reason)
"""
QUEUED: Final = executions(
    source="recorded r",
    status=f"'{ExecutionStatus.QUEUED}'",
    due_at="greatest(now(), r.nominal_at)",
)
FIRE: Final = f"""
WITH recorded AS ({recording(FIRES)}),
advanced AS ({ADVANCE}),
{creating(QUEUED)}
SELECT execution_id FROM recorded
"""  # noqa: S608
FINISH: Final = "UPDATE task_schedules SET enabled = false WHERE id = ANY(%s::uuid[])"


def write(planned: Sequence[Planned]) -> list[UUID | None]:
    """Write the fires and move the schedules on; answers the execution of each fire recorded."""
    if not planned:
        return []
    # Many schedules share a decision: it is put into words once.
    decisions = {id(one.decision): one.decision for one in planned}
    words = {identity: _words(decision) for identity, decision in decisions.items()}
    fires = [
        (one.due.id, "NULL" if execution_id is None else str(execution_id), *fate)
        for one in planned
        for execution_id, fate in zip(one.execution_ids, words[id(one.decision)].fates, strict=True)
    ]
    moves = [(one.due.id, *words[id(one.decision)].move) for one in planned]
    columns = [*zip(*fires, strict=True), *zip(*moves, strict=True)]
    recorded = prepared.execute(
        FIRE, [prepared.array_of_words(column) for column in columns]
    ).fetchall()
    finish([one.due.id for one in planned if one.decision.following is None])
    return [row[0] for row in recorded]


def finish(schedule_ids: Sequence[str]) -> None:
    """Disable schedules that have fired for the last time."""
    if schedule_ids:
        prepared.execute(FINISH, [prepared.array_of_words(schedule_ids)])


class _Words(NamedTuple):
    fates: list[tuple[str, ...]]
    move: tuple[str, ...]


def _words(decision: Decision) -> _Words:
    fates: list[tuple[str, ...]] = [
        (_text(fire.nominal_at), _text(fire.nominal_until), str(fire.count), fire.reason.value)
        for fire in decision.fires
    ]
    last_run_at, missed = _text(decision.last_run_at), str(decision.missed)
    move = (_text(decision.following), last_run_at, missed, str(decision.runs))
    return _Words(fates, move)


def _text(instant: datetime | None) -> str:
    return "NULL" if instant is None else instant.isoformat()
