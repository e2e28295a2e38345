"""One more execution that no clock starts: by hand, by an event, or because another one ended.

First the key of unique work, then the overlap policy, then the row, pending; the next round queues
it. In the caller's transaction, which holds the lock of the schedule's row: the order of a fire.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from executions_app import ids, lifecycle
from executions_app.states import Trigger
from scheduler_app import admission, fires
from scheduler_app.limiting import labels, unique
from scheduler_app.limiting.unique import Duplicate, Granted, Wish
from scheduler_app.models import Schedule, UniqueMode
from scheduler_app.policies import OverlapPolicy
from scheduler_app.windows import Openings


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for; `overlap` and `unique_key`, if any, in place of what the schedule says.

    `openings` are looked at where work of its key is put off. `also` is added to the snapshot,
    which nobody who hands in parameters writes.
    """

    trigger: Trigger
    parameters: Mapping[str, Any]
    due_at: datetime
    overlap: OverlapPolicy | None = None
    unique_key: str = ""
    openings: Openings | None = None
    nominal_at: datetime | None = None
    correlation_id: str = ""
    also: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def enter(schedule: Schedule, asked: Asked, *, now: datetime) -> Granted | Duplicate:
    """Make the execution, or answer the one that has its key.

    Raises MissingValue if a key lacks a parameter, and StillActive if the overlap policy admits no
    more: then what has given way is to be rolled back.
    """
    execution_id = ids.new(now)
    born_with = labels.of(
        schedule, asked.parameters, due_at=asked.due_at, unique_key=asked.unique_key
    )
    granted = _granted(schedule, asked, execution_id, born_with.unique_key, now=now)
    if isinstance(granted, Duplicate):
        return granted
    replacing = born_with.unique_key if granted.held_by else ""
    verdict = admission.admit(schedule, override=asked.overlap, replacing=replacing)
    verdict.check()
    due_at = max(asked.due_at, granted.due_at or asked.due_at)
    new = fires.new_execution(
        schedule,
        execution_id,
        trigger=asked.trigger,
        due_at=due_at,
        nominal_at=asked.nominal_at,
        parameters=dict(asked.parameters),
        correlation_id=asked.correlation_id,
        born_with=born_with.expiring(schedule.run_ttl_ms, due_at=due_at),
    )
    held_by = verdict.held_by or granted.held_by
    snapshot = {**new.snapshot, **asked.also}
    lifecycle.create([dataclasses.replace(new, held_by=held_by, snapshot=snapshot)])
    return granted


def _granted(
    schedule: Schedule, asked: Asked, execution_id: UUID, key: str, *, now: datetime
) -> Granted | Duplicate:
    """Whether the key of unique work is this execution's now; without a key nothing is asked."""
    if not key:
        return Granted(execution_id)
    wish = Wish(
        execution_id,
        schedule.owner_id,
        key,
        UniqueMode(schedule.unique_mode),
        schedule.unique_for_ms,
        asked.parameters,
        asked.openings,
    )
    return unique.enter(wish, now=now)
