"""How incidents are told of, to whoever follows what happens to executions."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from errors_app.models import SURVIVED, ErrorRecord, Incident
from executions_app import events

LONGEST_WORDS: Final = 300


def last_failure(schedule_id: UUID) -> str:
    """Class and message of the error that a schedule had last; empty if it had none."""
    failures = ErrorRecord.objects.exclude(SURVIVED)
    errors = failures.filter(schedule_id=schedule_id).order_by("-id")
    last = errors.values_list("error_class", "message").first()
    return f"{last[0]}: {last[1]}"[:LONGEST_WORDS] if last else ""


def told(type_: str, incident: Incident) -> events.NewEvent:
    """The event of this type about an incident, as it stands now."""
    return events.NewEvent(
        type=type_,
        topic=f"incident:{incident.id}",
        data={
            "status": incident.status,
            "title": incident.title,
            "name": incident.name,
            "severity": incident.severity,
            "error_class": incident.error_class,
            "count": incident.count,
            "reopened_count": incident.reopened_count,
            "note": incident.note,
        },
        owner_id=incident.owner_id,
        schedule_id=incident.schedule_id,
        severity=incident.severity,
    )
