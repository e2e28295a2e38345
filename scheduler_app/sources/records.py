"""What an event, a delivery or an upstream's outcome came to: its fire record, one for each cause.

An outcome leaves one in any case. An event or a delivery leaves one only if a policy made nothing
of it: else its execution tells all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from executions_app import ids, partitions
from scheduler_app.models import FireRecord
from scheduler_app.policies import FireReason
from scheduler_app.sources.starting import Closed, Started

HAS_A_RECORD: Final = {
    Closed.DISABLED: FireReason.SKIPPED_PAUSED,
    Closed.PAUSED: FireReason.SKIPPED_PAUSED,
}


def of_closed(reason: Closed) -> Started | None:
    """What is recorded of a closed schedule; None before its first and after its last instant."""
    recorded = HAS_A_RECORD.get(reason)
    return None if recorded is None else Started(None, recorded)


def write(
    schedule_id: UUID, started: Started, *, nominal_at: datetime, cause: str, now: datetime
) -> None:
    """Record a start, or why there was none, of which nothing is recorded yet."""
    _row(schedule_id, started, nominal_at, cause, now).save(force_insert=True)


def write_if_skipped(
    schedule_id: UUID, started: Started, *, nominal_at: datetime, cause: str, now: datetime
) -> None:
    """Record why an event or a delivery has started nothing, once."""
    if started.execution_id is not None:
        return
    partitions.ensure(partitions.FIRE_RECORDS, [nominal_at], now=now)
    row = _row(schedule_id, started, nominal_at, cause, now)
    FireRecord.objects.bulk_create([row], ignore_conflicts=True)


def _row(
    schedule_id: UUID, started: Started, nominal_at: datetime, cause: str, now: datetime
) -> FireRecord:
    return FireRecord(
        id=started.execution_id or ids.new(now),
        schedule_id=schedule_id,
        nominal_at=nominal_at,
        cause=cause,
        reason=started.reason,
        execution_id=started.execution_id,
        lateness_ms=max(0, int((now - nominal_at).total_seconds() * 1000)),
    )
