"""What a beat may have seen when it decided about a fire, as far as the rows can tell."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from executions_app import ids
from executions_app.models import Execution
from scheduler_app.models import FireRecord
from tests.journeys.when.timeline import SECOND, SLOW

NEAR = 0.2 * SECOND  # of two instants so close nobody can say which a beat saw first
SEEN = 0.4 * SECOND  # so long it may take until others see what has ended


def was_in_the_way(made: list[Execution]) -> bool:
    """Whether one of them was made before the one before can have ended."""
    return any(two.created_at - one.created_at < SLOW - NEAR for one, two in pairwise(made))


def those_before(fire: FireRecord, made: list[Execution]) -> list[Execution]:
    return [one for one in made if one.nominal_at and one.nominal_at < fire.nominal_at]


def is_past(at: datetime | None, then: datetime) -> bool:
    return at is not None and at <= then


def cannot_be_judged(fire: FireRecord, made: list[Execution]) -> bool:
    """True if one of those before began or ended while a beat may have looked, or just before."""
    earliest, latest = fire.created_at - SEEN, max(fire.created_at + NEAR, written_at(fire, made))
    others = [one for one in those_before(fire, made) if one.created_at != fire.created_at]
    return any(
        at and earliest < at < latest for one in others for at in (one.queued_at, one.completed_at)
    )


def written_at(fire: FireRecord, made: list[Execution]) -> datetime:
    """When a fire had been decided at the latest: `created_at` is when its transaction began."""
    if fire.execution_id is None:
        return ids.instant(fire.id)  # it was given its id as it was written
    (own,) = (one for one in made if one.id == fire.execution_id)
    is_sent_at_once = own.queued_at is not None and own.queued_at <= max(own.created_at, own.due_at)
    return own.started_at or fire.created_at if is_sent_at_once else fire.created_at
