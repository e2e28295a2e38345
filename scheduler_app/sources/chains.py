"""Who led to an execution: no schedule starts itself, however many others stand between.

An execution that something else started has in its snapshot the schedules that led to it, the first
one first. Nobody who hands in parameters writes the snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from executions_app import events
from executions_app.events import NewEvent
from scheduler_app.models import Schedule
from scheduler_app.sources.config import REFUSED

MOST_EVENTS: Final = 5
BY_ITS_END: Final = "+"  # before a schedule that a dependent waited for: no event led further


def waited_for(chain: Sequence[str], schedule_id: str) -> tuple[str, ...]:
    """The chain of what starts because an execution of this schedule has ended."""
    return (*chain, BY_ITS_END + schedule_id)


def has_led(schedule: Schedule, chain: Sequence[str]) -> bool:
    """True if an execution of the schedule stands in the chain, whatever it led on by."""
    return str(schedule.id) in {one.removeprefix(BY_ITS_END) for one in chain}


def is_too_long(chain: Sequence[str]) -> bool:
    """True behind MOST_EVENTS events; dependents have no cycles, so they may be many."""
    return _events_in(chain) > MOST_EVENTS


def objection(schedule: Schedule, chain: Sequence[str]) -> str:
    """Why the event at the end of this chain does not start the schedule; empty if it does."""
    if has_led(schedule, chain):
        return "the schedule has itself led to the event"
    if is_too_long(chain):
        number = _events_in(chain)
        return f"the event stands at the end of {number} executions that started each other"
    return ""


def refuse(
    schedule: Schedule, why: str, *, cause: str, kind: str, execution_id: UUID | None
) -> None:
    """Say that a chain of executions ends here; nobody can be started by hearing it."""
    told = {"name": schedule.name, "event": cause, "type": kind, "reason": why}
    events.emit(
        [
            NewEvent(
                REFUSED,
                f"schedule:{schedule.id}",
                told,
                owner_id=schedule.owner_id,
                schedule_id=schedule.id,
                execution_id=execution_id,
            )
        ]
    )


def _events_in(chain: Sequence[str]) -> int:
    return sum(not one.startswith(BY_ITS_END) for one in chain)
