"""What a schedule names besides itself: its calendar and its upstream schedules, made into ids.

Both are looked for among what the schedule's owner has. Who changes or deletes a schedule that
depends on others, or that others depend on, holds one lock first: two edits that are each without
a cycle could make one together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from executions_app import ids
from executions_app.states import SchedulerException
from scheduler_app.definition import Definition, InvalidDefinition, Problem
from scheduler_app.models import BusinessCalendar, Schedule
from scheduler_app.policies import TriggerType
from scheduler_app.sources import config

LOCK_KEY: Final = 0x44455053  # one editor of dependencies at a time
MOST_NAMED: Final = 5


class Needed(SchedulerException):
    """Others depend on what is to be deleted."""


def hold() -> None:
    """Until the transaction ends nobody else changes which schedule depends on which."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])


def resolved(definition: Definition, *, owner_id: int, schedule_id: UUID) -> Definition:
    """The definition with ids for names; `hold` comes before it for a dependent one.

    In the transaction that stores it: its calendar stays until that ends. Raises InvalidDefinition
    for what the owner does not have, and for a cycle, which it names.
    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    if definition.calendar is not None:
        calendar_id = _calendar_id(definition.calendar, owner_id)
        found["calendar"] = calendar_id and str(calendar_id)
        if calendar_id is None:
            message = f"you have no business calendar {definition.calendar!r}"
            problems.append(Problem(("calendar",), "unknown", message))
    if definition.trigger_type is TriggerType.DEPENDENT:
        upstreams = _upstreams(definition, owner_id)
        problems += _upstream_problems(upstreams, definition, schedule_id)
        found["trigger_config"] = {**_words(definition), "upstreams": _ids(upstreams)}
    if problems:
        raise InvalidDefinition(problems)
    return definition.model_copy(update=found)


def check_deletable(schedule_id: UUID) -> None:
    """Raise Needed while other schedules depend on this one; `hold` comes before it."""
    dependents = Schedule.objects.filter(
        trigger_type=TriggerType.DEPENDENT,
        trigger_config__contains={"upstreams": [str(schedule_id)]},
    ).exclude(id=schedule_id)
    names = list(dependents.order_by("name").values_list("name", flat=True)[: MOST_NAMED + 1])
    if names:
        named = ", ".join(repr(name) for name in names[:MOST_NAMED])
        more = ", ..." if len(names) > MOST_NAMED else ""
        raise Needed(f"It starts {named}{more}; change or delete what depends on it first")


def _words(definition: Definition) -> dict[str, Any]:
    parsed = config.parse_trigger_config(definition.trigger_type, definition.trigger_config)
    assert parsed is not None  # a dependent one has settings, and they were checked
    return parsed.model_dump(mode="json")


def calendar(reference: str, *, owner_id: int) -> BusinessCalendar | None:
    """The calendar of a name or an id, among those of an owner; None if there is none."""
    return _calendars(reference, owner_id).first()


def _calendars(reference: str, owner_id: int) -> QuerySet[BusinessCalendar]:
    own = BusinessCalendar.objects.filter(owner_id=owner_id)
    as_id = ids.as_uuid(reference)
    return own.filter(name=reference) if as_id is None else own.filter(id=as_id)


def _calendar_id(reference: str, owner_id: int) -> UUID | None:
    chosen = _calendars(reference, owner_id)
    # Locked: who deletes it now waits, and then finds the schedule that follows it.
    return chosen.select_for_update(no_key=True).values_list("id", flat=True).first()


def _upstreams(definition: Definition, owner_id: int) -> dict[str, UUID | None]:
    """Each reference as it was given, with the id of the schedule that it means."""
    given = _words(definition)["upstreams"]
    own = Schedule.objects.filter(owner_id=owner_id)
    by_name = dict(own.filter(name__in=given).values_list("name", "id"))
    as_ids = [one for one in map(ids.as_uuid, given) if one is not None]
    by_id = {str(one): one for one in own.filter(id__in=as_ids).values_list("id", flat=True)}
    return {one: by_name.get(one) or by_id.get(str(ids.as_uuid(one))) for one in given}


def _ids(upstreams: dict[str, UUID | None]) -> list[str]:
    return list(dict.fromkeys(str(one) for one in upstreams.values()))


def _upstream_problems(
    upstreams: dict[str, UUID | None], definition: Definition, schedule_id: UUID
) -> Iterator[Problem]:
    for place, (given, found) in enumerate(upstreams.items()):
        if found is None:
            path = ("trigger_config", "upstreams", str(place))
            yield Problem(path, "unknown", f"you have no schedule {given!r}")
    known = [one for one in upstreams.values() if one is not None]
    cycle = _cycle(known, schedule_id)
    if cycle:
        names = dict(Schedule.objects.filter(id__in=cycle).values_list("id", "name"))
        words = [definition.name if one == schedule_id else names[one] for one in cycle]
        message = f"this would start itself: {' -> '.join(words)}"
        yield Problem(("trigger_config", "upstreams"), "cycle", message)


def _cycle(upstreams: Sequence[UUID], own: UUID) -> list[UUID]:
    """The shortest way in which a schedule with these upstreams starts itself; empty for none."""
    started_by = dict.fromkeys(upstreams, own)  # upstream -> one of those that it starts
    level = list(started_by)
    while level and own not in level:
        above = _upstreams_of(level)
        level = []
        for schedule_id, its_upstreams in above.items():
            for one in its_upstreams:
                if one not in started_by:
                    started_by[one] = schedule_id
                    level.append(one)
    if own not in level:
        return []
    way = [own, started_by[own]]
    while way[-1] != own:
        way.append(started_by[way[-1]])
    return way


def _upstreams_of(schedule_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
    dependent = Schedule.objects.filter(id__in=schedule_ids, trigger_type=TriggerType.DEPENDENT)
    rows = dependent.values_list("id", "trigger_config")
    return {row: [UUID(one) for one in words.get("upstreams", [])] for row, words in rows}
