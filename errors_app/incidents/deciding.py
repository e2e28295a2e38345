"""What people decide about incidents, that is about executions that fail alike: acknowledge, ...

Each verb checks the machine in `states`, moves the incident with a guarded update, and writes the
audit entry and the event in the same transaction. Errors that are in the incident stay as they are.
What people decide about a schedule can decide about its incidents, too: who deletes it ends them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from errors_app.incidents.telling import told
from errors_app.models_incidents import UNRESOLVED, Incident
from executions_app import audit, clock, events
from executions_app.audit import Actor
from executions_app.states import IncidentStatus, LostRace, check

DONE: Final = {IncidentStatus.OPEN: "reopened"}
"""What was done to an incident, where its new state is no word for that."""


def acknowledge(incident: Incident, *, actor: Actor, note: str = "") -> Incident:
    """Somebody is at it; it can still recover by itself, and opens again after that."""
    return _decide(incident, IncidentStatus.ACKNOWLEDGED, actor=actor, note=note)


def ignore(incident: Incident, *, actor: Actor, note: str = "") -> Incident:
    """It does not matter: further errors are counted and nobody is told."""
    return _decide(incident, IncidentStatus.IGNORED, actor=actor, note=note)


def resolve(incident: Incident, *, actor: Actor, note: str = "") -> Incident:
    """The cause is gone; an error that comes later opens it again."""
    return _decide(incident, IncidentStatus.RESOLVED, actor=actor, note=note)


def reopen(incident: Incident, *, actor: Actor, note: str = "") -> Incident:
    """It was resolved too early; the next success of its schedule can resolve it again."""
    return _decide(incident, IncidentStatus.OPEN, actor=actor, note=note)


def resolve_of_schedule(schedule_id: UUID, *, actor: Actor, note: str) -> int:
    """In the transaction in which its schedule goes: what waits for its success waits no more.

    Before the schedule is locked: who counts a success locks incidents first, too. What a person
    ignores stays so. What still runs and fails later opens its incident again, which `orphans`
    ends. Answers how many were resolved.
    """
    assert connection.in_atomic_block  # the caller tells of it, once that is committed
    waiting = Incident.objects.filter(schedule_id=schedule_id, status__in=UNRESOLVED)
    return resolve_each(waiting.order_by("key").select_for_update(), actor=actor, note=note)


def resolve_each(locked: Iterable[Incident], *, actor: Actor, note: str) -> int:
    """The same for these, which are open or acknowledged, and locked in the order of their keys."""
    rows = list(locked)
    if not rows:
        return 0
    now = clock.now()
    changes = _changes(IncidentStatus.RESOLVED, actor=actor, note=note, now=now)
    ids = [one.id for one in rows]
    Incident.objects.filter(id__in=ids).update(**changes)
    audit.record_all(
        actor,
        "incident.resolved",
        object_type="incident",
        object_ids=ids,
        now=now,
        after={"status": IncidentStatus.RESOLVED.value},
        note=note,
    )
    for one in rows:
        one.status, one.note = IncidentStatus.RESOLVED, note
    events.emit([told("incident:resolved", one) for one in rows])
    return len(rows)


def _decide(incident: Incident, target: IncidentStatus, *, actor: Actor, note: str) -> Incident:
    before = IncidentStatus(incident.status)
    check(before, target)
    with transaction.atomic():
        now = clock.now()
        changes = _changes(target, actor=actor, note=note, now=now)
        if not Incident.objects.filter(id=incident.id, status=before).update(**changes):
            message = "Somebody else decided about this incident first; read it again"
            raise LostRace(message, id=incident.id)
        incident.refresh_from_db()
        audit.record(
            actor,
            f"incident.{DONE.get(target, target.value)}",
            object_type="incident",
            object_id=incident.id,
            now=now,
            before={"status": before.value},
            after={"status": target.value},
            note=note,
        )
        events.emit([told(f"incident:{DONE.get(target, target.value)}", incident)])
    events.announce()
    return incident


def _changes(target: IncidentStatus, *, actor: Actor, note: str, now: datetime) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "status": target,
        "handled_by_id": actor.user_id,
        "handled_at": now,
        "note": note,
        "resolved_at": now if target is IncidentStatus.RESOLVED else None,
        "updated_at": now,
    }
    if target is IncidentStatus.OPEN:
        changes["reopened_at"] = now
    if target is not IncidentStatus.ACKNOWLEDGED:
        changes |= {"succeeded_at": None, "recovers_at": None}
    return changes
