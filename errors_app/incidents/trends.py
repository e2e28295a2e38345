"""Whether the errors of an incident become more or fewer, by the hour, for people who look at it.

`of` reads the hours of a whole page of incidents at once; the rest is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from errors_app.models_incidents import IncidentBucket

HOURS: Final = 24
LATELY: Final = 4  # hours that are held against as many before them; the last has only begun
NOTICEABLE: Final = 1.5
HOUR: Final = timedelta(hours=1)


class Direction(StrEnum):
    RISING = "rising"
    STEADY = "steady"
    FALLING = "falling"


@dataclass(frozen=True, slots=True)
class Trend:
    """Errors per hour, the oldest first; the last hour is the one that runs."""

    hours: list[int]
    direction: Direction


NONE: Final = Trend([0] * HOURS, Direction.STEADY)


def of(incident_ids: Iterable[UUID], *, now: datetime) -> dict[UUID, Trend]:
    """The trends of these incidents over the last 24 hours; without errors an incident has none."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    first = this_hour - (HOURS - 1) * HOUR
    found: dict[UUID, list[int]] = {}
    rows = IncidentBucket.objects.filter(
        incident_id__in=list(incident_ids), hour__gte=first, hour__lte=this_hour
    )
    for row in rows:
        hours = found.setdefault(row.incident_id, [0] * HOURS)
        hours[int((row.hour - first) / HOUR)] += row.count
    part = (now - this_hour) / HOUR
    return {one: Trend(hours, direction(hours, part=part)) for one, hours in found.items()}


def direction(hours: Sequence[int], *, part: float) -> Direction:
    """How the last hours compare with those before them; `part` of the last one has passed.

    A half more an hour is rising, a third less is falling.
    """
    lately = sum(hours[-LATELY:]) / (LATELY - 1 + part)
    before = sum(hours[-2 * LATELY : -LATELY]) / LATELY
    if lately > NOTICEABLE * before:
        return Direction.RISING
    if before > NOTICEABLE * lately:
        return Direction.FALLING
    return Direction.STEADY
