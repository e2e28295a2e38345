"""Writes down the fires that need care: of windows, delays, buffers, limits, unique work.

Beside `firing`, which writes the plain ones, and in the same transaction. Who is in the way of an
execution is cancelled or asked to stop here; what may not start yet is pending: due later, held by
what it waits for, or due now and admitted under its limits in the same round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from executions_app import overlaps, prepared
from executions_app.statements import LABELS, creating
from executions_app.states import ExecutionStatus
from scheduler_app import doors, firing, holds
from scheduler_app.conditions import Conditions
from scheduler_app.fires import Planned
from scheduler_app.limiting import labels, unique
from scheduler_app.limiting.labels import Labels
from scheduler_app.limiting.unique import Duplicate, Granted, Wish
from scheduler_app.models import UniqueMode
from scheduler_app.policies import Entry, Fire, FireReason

STATEMENT: Final = f"""
WITH input AS (
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[], %s::timestamptz[],
        %s::bigint[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::text[],
        %s::text[], %s::timestamptz[])
        AS f(schedule_id, execution_id, nominal_at, nominal_until, count, reason, status, due_at,
             held_by, limit_key, unique_key, expires_at)
), recorded AS ({firing.recording("SELECT * FROM input")}),
advanced AS ({firing.ADVANCE}),
{
    creating(
        firing.executions(
            source="recorded r JOIN input i USING (schedule_id, nominal_at)",
            status="i.status",
            due_at="i.due_at",
            also="i.held_by, i.limit_key, i.unique_key, i.expires_at",
        ),
        held_by="held_by",
        labels=LABELS,
    )
}
SELECT r.execution_id, i.status FROM recorded r JOIN input i USING (schedule_id, nominal_at)
"""  # noqa: S608  composed of constants of this package only


# The schedules are locked: nobody else records fires of theirs meanwhile.
RECORDED: Final = """
SELECT f.schedule_id::text, f.nominal_at
FROM unnest(%s::uuid[], %s::timestamptz[]) AS f(schedule_id, nominal_at)
CROSS JOIN LATERAL (
    SELECT FROM fire_records r
    WHERE r.schedule_id = f.schedule_id AND r.nominal_at = f.nominal_at AND r.cause = '' LIMIT 1
) AS found
"""


class Written(NamedTuple):
    """How many fires were recorded, and which executions stand in a queue already."""

    recorded: int = 0
    queued: frozenset[UUID] = frozenset()


@dataclass(slots=True)
class _Row:
    """A fire and its execution, as long as there is to be one."""

    planned: Planned
    fire: Fire
    execution_id: UUID | None
    due_at: datetime
    labels: Labels
    held_by: str = ""
    held_by_key: str = ""  # what it waits for once nothing of its schedule is in its way
    reason: FireReason = FireReason.DISPATCHED

    @property
    def given(self) -> Conditions:
        return self.planned.decision.conditions


def parted(planned: Sequence[Planned]) -> tuple[list[Planned], list[Planned]]:
    """Those that `firing` writes, and those that need care.

    These are not plain, or their executions must be admitted under limits.
    """
    known: dict[tuple[str, str], bool] = {}
    plain: list[Planned] = []
    others: list[Planned] = []
    for one in planned:
        key = (one.due.task_type, one.due.priority)
        if one.due.conditions is None and key not in known:
            known[key] = holds.is_limited(
                task_type=key[0], priority=key[1], limit_key="", max_concurrent=None
            )
        needs_care = one.due.conditions is not None or known[key]
        (others if needs_care else plain).append(one)
    return plain, others


def write(planned: Sequence[Planned], *, now: datetime) -> Written:
    """Write the fires, their executions, and move the schedules on."""
    if not planned:
        return Written()
    rows = _without_recorded([row for one in planned for row in _rows(one, now=now)])
    _enter_uniquely(rows, now=now)
    _make_way(rows)
    columns = list(zip(*(_columns(row, now=now) for row in rows), strict=True)) or [()] * 12
    moves, finished = _moves(planned, rows)
    values = [*columns, *zip(*moves, strict=True)]
    answers = prepared.execute(STATEMENT, [prepared.array(one) for one in values]).fetchall()
    firing.finish(finished)
    queued = frozenset(id_ for id_, status in answers if status == ExecutionStatus.QUEUED)
    return Written(len(answers), queued - {None})


def _rows(one: Planned, *, now: datetime) -> list[_Row]:
    return [
        _row(one, fire, execution_id, now=now)
        for fire, execution_id in zip(one.decision.fires, one.execution_ids, strict=True)
    ]


def _row(one: Planned, fire: Fire, execution_id: UUID | None, *, now: datetime) -> _Row:
    given = one.decision.conditions
    if execution_id is None:
        return _Row(one, fire, None, now, Labels(), reason=fire.reason)
    schedule_id = UUID(one.due.id)
    delay = doors.delay_of(
        schedule_id, fire.nominal_at, jitter_ms=given.jitter_ms, spread_ms=given.spread_ms
    )
    opening = fire.starts_at or fire.nominal_at
    due_at = max(now, doors.start(opening, delay, given.openings))
    its_labels = labels.of_fire(
        limit_key=given.limit_key,
        unique_key=given.unique_key,
        task_config=given.task_config,
        run_ttl_ms=given.run_ttl_ms,
        due_at=due_at,
    )
    held_by = overlaps.held_by(schedule_id) if fire.entry is not Entry.RUN else ""
    return _Row(one, fire, execution_id, due_at, its_labels, held_by)


def _without_recorded(rows: Sequence[_Row]) -> list[_Row]:
    """Those without a record; asked only where others give way to a run, or where it counts."""
    asked = [row for row in rows if row.execution_id and _has_effects(row)]
    if not asked:
        return list(rows)
    fires = [(row.planned.due.id, row.fire.nominal_at) for row in asked]
    columns = [prepared.array(one) for one in zip(*fires, strict=True)]
    known = set(prepared.execute(RECORDED, columns).fetchall())
    return [row for row in rows if (row.planned.due.id, row.fire.nominal_at) not in known]


def _has_effects(row: _Row) -> bool:
    is_counted = row.given.runs_left is not None
    return bool(row.labels.unique_key) or row.fire.entry is Entry.REPLACE or is_counted


def _enter_uniquely(rows: Sequence[_Row], *, now: datetime) -> None:
    """Ask for the keys of unique work; a duplicate is recorded and not run."""
    asking = {row.execution_id: row for row in rows if row.execution_id and row.labels.unique_key}
    wishes = [
        Wish(
            execution_id,
            row.planned.due.owner_id,
            row.labels.unique_key,
            UniqueMode(row.given.unique_mode),
            row.given.unique_for_ms,
            openings=row.given.openings,
        )
        for execution_id, row in asking.items()
    ]
    for execution_id, answer in unique.enter_all(wishes, now=now).items() if wishes else ():
        row = asking[execution_id]
        match answer:
            case Duplicate():
                row.execution_id, row.reason = None, FireReason.SKIPPED_DUPLICATE
            case Granted(_, due_at, held_by):
                row.due_at = max(row.due_at, due_at or row.due_at)
                row.held_by, row.held_by_key = row.held_by or held_by, held_by


def _make_way(rows: Sequence[_Row]) -> None:
    """Cancel what is to give way; who has nothing left to wait for waits no longer."""
    replacing = [row for row in rows if row.execution_id and row.fire.entry is Entry.REPLACE]
    if replacing:
        running = overlaps.supersede([row.planned.due.id for row in replacing])
        for row in replacing:
            if row.planned.due.id not in running:
                row.held_by = row.held_by_key


def _columns(row: _Row, *, now: datetime) -> tuple[object, ...]:
    due, fire = row.planned.due, row.fire
    waits = row.held_by or row.due_at > now
    is_queued = row.execution_id is not None and not waits and not _is_limited(row)
    status = ExecutionStatus.QUEUED if is_queued else ExecutionStatus.PENDING
    return (
        due.id,
        row.execution_id,
        fire.nominal_at,
        fire.nominal_until,
        fire.count,
        row.reason.value,
        status.value,
        row.due_at,
        row.held_by,
        row.labels.limit_key,
        row.labels.unique_key,
        labels.expires_at(row.given.run_ttl_ms, due_at=row.due_at),  # it may have been put off
    )


def _is_limited(row: _Row) -> bool:
    due = row.planned.due
    return holds.is_limited(
        task_type=due.task_type,
        priority=due.priority,
        limit_key=row.labels.limit_key,
        max_concurrent=row.given.max_concurrent,
    )


def _moves(
    planned: Sequence[Planned], rows: Sequence[_Row]
) -> tuple[list[tuple[object, ...]], list[str]]:
    """Where each schedule goes next, and those that are finished."""
    made: dict[str, list[datetime]] = {one.due.id: [] for one in planned}
    for row in rows:
        if row.execution_id is not None:
            made[row.planned.due.id].append(row.fire.nominal_at)
    moves: list[tuple[object, ...]] = []
    finished: list[str] = []
    for one in planned:
        runs, decision = made[one.due.id], one.decision
        left = decision.conditions.runs_left
        is_last = left is not None and len(runs) >= left
        next_at = None if is_last else decision.resumes_at
        if next_at is None:
            finished.append(one.due.id)
        last = max(runs, default=None)
        moves.append((one.due.id, next_at, last, decision.missed, len(runs)))
    return moves, finished
