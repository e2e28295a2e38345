"""Which schedules internal events start, and since when: kept beside them as they are saved.

A schedule hears what was done by transactions later than the one that made it listen; transactions
are numbered, so no clock decides about it. While nobody listens, nobody asks.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db import connection

from scheduler_app.models import EventListener, Schedule
from scheduler_app.policies import TriggerType

LISTEN: Final = """
INSERT INTO event_listeners (schedule_id, since_xid)
VALUES (%s, pg_current_xact_id()::text::bigint) ON CONFLICT (schedule_id) DO NOTHING
"""


def follow(schedule: Schedule) -> None:
    """In the transaction that has saved the schedule: let it hear events from now on, or stop."""
    is_internal = (
        schedule.trigger_type == TriggerType.EVENT_DRIVEN
        and schedule.trigger_config.get("source") == "internal"
    )
    if is_internal and schedule.enabled:
        with connection.cursor() as cursor:
            cursor.execute(LISTEN, [schedule.id])
    elif schedule.version > 1:  # a new one has never listened
        leave(schedule.id)


def leave(schedule_id: UUID) -> None:
    """In the transaction that disables the schedule without saving it: let it hear no more.

    Else, once it is enabled again, it would hear all that happened while it was off.
    """
    EventListener.objects.filter(schedule_id=schedule_id).delete()
