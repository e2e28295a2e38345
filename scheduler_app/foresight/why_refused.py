"""What was to start a schedule and could not: told from its error records, where nothing else is.

An event or an outcome that lacks a value which a key of the schedule needs starts nothing and has
no record of a fire; the error record says what was missing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from errors_app.models import ErrorRecord
from executions_app import ids
from executions_app.wording import iso
from scheduler_app.limiting.key_templates import MissingValue
from scheduler_app.models import Schedule
from scheduler_app.policies import TriggerType

NOT_STARTED: Final = "not_started"
STARTERS: Final = {
    TriggerType.EVENT_DRIVEN: "An event",
    TriggerType.DEPENDENT: "The end of an upstream",
}


def refused(
    schedule: Schedule, *, since: datetime | None, until: datetime | None
) -> ErrorRecord | None:
    """The last time between these instants that a start of it lacked a value; None: never."""
    if schedule.trigger_type not in STARTERS:
        return None
    found = ErrorRecord.objects.filter(
        schedule_id=schedule.id,
        execution_id__isnull=True,
        exception_type=MissingValue.__qualname__,
    )
    if since is not None:
        found = found.filter(id__gte=ids.floor(since))
    if until is not None:
        found = found.filter(id__lt=ids.floor(until))
    return found.order_by("-id").first()


def sentence(schedule: Schedule, error: ErrorRecord) -> str:
    """That it was not started, and what was missing."""
    starter = STARTERS[TriggerType(schedule.trigger_type)]
    return f"{starter} could not start it at {iso(error.ended_at)}: {error.message}."
