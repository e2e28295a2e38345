"""When not: create, edit and delete the business calendars that schedules share.

A schedule follows its calendar as it is when a fire comes due; an edit therefore needs no edit of
the schedules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from executions_app import audit, clock, ids
from executions_app.audit import Actor
from executions_app.states import SchedulerException
from scheduler_app import next_run, windows
from scheduler_app.definition import InvalidDefinition, problems_of
from scheduler_app.edits import NameTaken, VersionChanged
from scheduler_app.models import BusinessCalendar, Schedule

ONE_NAME: Final = "calendar_name_of_owner"
MOST_DAYS: Final = 2_000
MOST_NAMED: Final = 5


class InUse(SchedulerException):
    """Schedules follow the calendar that is to be deleted."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Holiday(_Part):
    """A whole day of the calendar's zone."""

    date: date
    name: str = Field("", max_length=200)


class Blackout(_Part):
    """From an instant up to, not including, another."""

    begin: AwareDatetime = Field(alias="from")
    end: AwareDatetime = Field(alias="to")
    reason: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Blackout:
        if self.end <= self.begin:
            raise ValueError("'to' must be later than 'from'")
        return self


def _zone(name: str) -> str:
    try:
        next_run.zone(name)
    except next_run.InvalidTriggerConfigError as error:
        raise ValueError(error.reason) from None
    return name


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _distinct(words: list[Weekday]) -> list[Weekday]:
    return sorted(set(words), key=windows.WEEKDAYS.index)


def _sat_and_sun() -> list[Weekday]:
    return ["sat", "sun"]


class CalendarDefinition(_Part):
    """What a person says about a business calendar."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    weekend: Annotated[list[Weekday], AfterValidator(_distinct)] = Field(
        default_factory=_sat_and_sun
    )
    holidays: list[Holiday] = Field(default_factory=list, max_length=MOST_DAYS)
    blackouts: list[Blackout] = Field(default_factory=list, max_length=MOST_DAYS)

    def columns(self) -> dict[str, Any]:
        """The values as the calendar's columns hold them."""
        return self.model_dump(mode="json", by_alias=True)


def parse(data: Mapping[str, Any]) -> CalendarDefinition:
    """Check the words of a calendar; raises InvalidDefinition with every problem."""
    try:
        return CalendarDefinition.model_validate(dict(data))
    except ValidationError as error:
        raise InvalidDefinition(problems_of(error)) from None


def create(definition: CalendarDefinition, *, owner_id: int, actor: Actor) -> BusinessCalendar:
    """Store a new calendar; raises NameTaken."""
    with transaction.atomic():
        now = clock.now()
        calendar = BusinessCalendar(
            id=ids.new(now), owner_id=owner_id, created_at=now, updated_at=now
        )
        _store(calendar, definition.columns())
        _record("created", calendar, actor, after=definition.columns())
    return calendar


def update(
    calendar_id: UUID,
    definition: CalendarDefinition,
    *,
    actor: Actor,
    version: int | None = None,
) -> BusinessCalendar:
    """Replace the definition; raises VersionChanged if it is no longer at `version`, NameTaken."""
    with transaction.atomic():
        calendar = BusinessCalendar.objects.select_for_update().get(id=calendar_id)
        if version is not None and calendar.version != version:
            raise VersionChanged(
                f"Calendar {calendar.name!r} is at version {calendar.version}, not {version}; "
                "read it again and repeat the change"
            )
        before, after = stored(calendar), definition.columns()
        changed = [name for name, value in after.items() if before[name] != value]
        if changed:
            calendar.version += 1
            calendar.updated_at = clock.now()
            _store(calendar, after)
            _record(
                "updated",
                calendar,
                actor,
                before={name: before[name] for name in changed},
                after={name: after[name] for name in changed},
            )
    return calendar


def delete(calendar_id: UUID, *, actor: Actor) -> None:
    """Remove it; raises InUse while schedules follow it."""
    with transaction.atomic():
        calendar = BusinessCalendar.objects.select_for_update().get(id=calendar_id)
        _record("deleted", calendar, actor, before=stored(calendar))
        try:
            calendar.delete()
        except ProtectedError:
            raise InUse(_named(followers(calendar))) from None


def stored(calendar: BusinessCalendar) -> dict[str, Any]:
    """The words that a calendar has now."""
    return {name: getattr(calendar, name) for name in CalendarDefinition.model_fields}


def followers(calendar: BusinessCalendar) -> list[str]:
    """Names of schedules that follow it: the first few, in order."""
    rows = Schedule.objects.filter(calendar=calendar).order_by("name")
    return list(rows.values_list("name", flat=True)[: MOST_NAMED + 1])


def _named(names: Iterable[str]) -> str:
    first = list(names)
    shown = ", ".join(repr(name) for name in first[:MOST_NAMED])
    more = ", ..." if len(first) > MOST_NAMED else ""
    return f"Schedules follow this calendar: {shown}{more}; give them another or none first"


def _store(calendar: BusinessCalendar, columns: Mapping[str, Any]) -> None:
    for name, value in columns.items():
        setattr(calendar, name, value)
    try:
        with transaction.atomic():
            calendar.save()
    except IntegrityError as error:
        if ONE_NAME not in str(error):
            raise
        raise NameTaken(
            f"A calendar named {calendar.name!r} exists already; choose another name"
        ) from None


def _record(what: str, calendar: BusinessCalendar, actor: Actor, **words: Any) -> None:
    audit.record(
        actor,
        f"calendar.{what}",
        object_type="calendar",
        object_id=calendar.id,
        now=clock.now(),
        **words,
    )
