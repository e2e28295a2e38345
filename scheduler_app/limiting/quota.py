"""From when on the rates above a schedule have a start to spare: for who may move its next run."""

from __future__ import annotations

from datetime import datetime, timedelta

from scheduler_app.limiting import labels, limits_in_force, rates
from scheduler_app.limiting.limits_in_force import Properties, Rate
from scheduler_app.models import Schedule


def open_from(schedule: Schedule, *, now: datetime) -> datetime | None:
    """The first instant at which every rate above a fire of it allows one more start.

    None if they do now, or there is none. Others may draw from the same rates until then: whoever
    starts the run asks them once more.
    """
    found = _rates(schedule, now=now)
    if not found:
        return None
    left = rates.tokens(found)
    waits = [
        (1 - left[key]) * rate.period_ms / rate.count
        for key, rate in found.items()
        if rates.whole(left[key]) < 1
    ]
    return now + timedelta(milliseconds=max(waits)) if waits else None


def _rates(schedule: Schedule, *, now: datetime) -> dict[str, Rate]:
    limit_key = labels.of_fire(
        limit_key=schedule.limit_key,
        unique_key="",
        task_config=schedule.task_config,
        run_ttl_ms=None,
        due_at=now,
    ).limit_key
    fire = Properties(
        queue=schedule.priority,
        limit_key=limit_key,
        schedule_id=str(schedule.id),
        task_type=schedule.task_type,
        agent=schedule.task_config.get("agent"),
    )
    above = limits_in_force.now().over(fire, own=None)  # its own limit is of so many at once
    return {one.key: one.rate for one in above if one.rate is not None}
