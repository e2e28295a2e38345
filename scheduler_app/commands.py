"""The terminal's way to schedules: found by name or id, shown in the shape of REST."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.contrib.auth.models import User

from executions_app.command_problems import CommandProblem, Exit, problem_of
from executions_app.commands import DoorCommand, as_uuid
from scheduler_app import calendars, next_run_source, schedules
from scheduler_app.admission import StillActive
from scheduler_app.api.serializers import ScheduleSerializer
from scheduler_app.definition import InvalidDefinition, Problem
from scheduler_app.limiting import limits
from scheduler_app.limiting.key_templates import MissingValue
from scheduler_app.models import Schedule
from scheduler_app.next_run import InvalidTriggerConfigError

MEANINGS: Final[Mapping[type[Exception], tuple[str, Exit]]] = {
    schedules.Needed: ("Nothing was deleted", Exit.REFUSED),
    calendars.InUse: ("Nothing was deleted", Exit.REFUSED),
    limits.Unknown: ("`manage.py limits list` shows what there is", Exit.NOT_FOUND),
    StillActive: ("Wait, cancel them, or repeat it with --overlap allow", Exit.REFUSED),
    MissingValue: ("Nothing was started; give it with --parameters", Exit.USAGE),
}


class ScheduleCommand(DoorCommand):
    """A command whose input may make no schedule."""

    def problem_of(self, error: BaseException) -> CommandProblem | None:
        match error:
            case InvalidDefinition():
                return invalid(error.problems)
            case InvalidTriggerConfigError():
                return invalid([Problem((error.field,), "invalid", error.reason)])
            case schedules.NameTaken():
                todo = "Choose another name, or change the schedule that has it"
                return CommandProblem(str(error), todo, Exit.REFUSED, fields={"name": str(error)})
        for kind, (todo, code) in MEANINGS.items():
            if isinstance(error, kind):
                return CommandProblem(str(error), todo, code)
        return problem_of(error)


def invalid(problems: Iterable[Problem]) -> CommandProblem:
    """The usage error that names every field."""
    fields = {".".join(one.path): one.message for one in problems}
    what = "; ".join(f"{path}: {message}" for path, message in fields.items())
    return CommandProblem(
        what, "Nothing was stored; correct it and repeat", Exit.USAGE, fields=fields
    )


def schedule_named(reference: str, *, user: User | None = None) -> Schedule:
    """The schedule of an id, of a name among those of `user`, or of a name that only one has.

    Raises CommandProblem.
    """
    as_id = as_uuid(reference)
    if as_id is not None:
        found = list(Schedule.objects.filter(id=as_id))
    else:
        named = Schedule.objects.filter(name=reference).order_by("id")
        found = list(named.filter(owner=user)) if user else []
        found = found or list(named[:2])
    if not found:
        todo = "`manage.py schedule list` shows what there is"
        raise CommandProblem(f"There is no schedule {reference!r}", todo, Exit.NOT_FOUND)
    if len(found) > 1:
        raise CommandProblem(
            f"Schedules of several owners are named {reference!r}",
            "Give its id, or its owner with --user",
            Exit.USAGE,
        )
    return found[0]


def documents(schedules: Sequence[Schedule]) -> list[dict[str, Any]]:
    """The REST objects of schedules."""
    context = {"decided": next_run_source.decisions(schedules)}
    return [dict(ScheduleSerializer(one, context=context).data) for one in schedules]


def document(schedule: Schedule) -> dict[str, Any]:
    """The REST object of one schedule."""
    return documents([schedule])[0]
