"""Which schedules a verb of `manage.py schedule` is for, when it is not for one alone."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping

from django.db.models import QuerySet

from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import Answer, Options
from scheduler_app.api.filters import ScheduleFilter
from scheduler_app.bulk.at_once import Done
from scheduler_app.commands import invalid
from scheduler_app.definition import Problem
from scheduler_app.models import Schedule


def add_options(parser: ArgumentParser) -> None:
    """`--all` and `--filter`, beside the name of one."""
    parser.add_argument("--all", action="store_true", help="all schedules of all owners")
    parser.add_argument(
        "--filter",
        action="append",
        metavar="NAME=VALUE",
        help="those that the filters of the list choose, such as task_type=http_request",
    )


def chosen(options: Options) -> QuerySet[Schedule] | None:
    """The schedules of `--all` or `--filter`; None if one is named. Raises CommandProblem."""
    ways = [options["schedule"] is not None, options["all"], bool(options["filter"])]
    if sum(ways) != 1:
        todo = "Name one, or choose with --filter NAME=VALUE, or take --all"
        raise CommandProblem("Say which schedules, in one way", todo, Exit.USAGE)
    if options["schedule"] is not None:
        return None
    return _filtered(dict(_pair(one) for one in options["filter"] or []))


def answer(done: Done, what: str) -> Answer:
    """How many were changed, and which were not and why."""
    lines = [f"{done.changed} {what}"]
    lines += [f"{one.schedule.name!r} was not: {one.detail}" for one in done.refused]
    if done.remaining:
        lines.append(f"{done.remaining} remain; repeat the command")
    refused = [{"id": one.schedule.id, "detail": one.detail} for one in done.refused]
    document = {"changed": done.changed, "refused": refused, "remaining": done.remaining}
    return Answer(document, "\n".join(lines), Exit.FAILED if refused else Exit.OK)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name not in ScheduleFilter.base_filters:
        known = ", ".join(ScheduleFilter.base_filters)
        message = f"{text!r} is no filter; write NAME=VALUE with one of {known}"
        raise invalid([Problem(("filter",), "unknown", message)])
    return name, value


def _filtered(words: Mapping[str, str]) -> QuerySet[Schedule]:
    filters = ScheduleFilter(data=words, queryset=Schedule.objects.all())
    if not filters.is_valid():
        raise invalid(
            Problem((name,), "invalid", str(errors[0])) for name, errors in filters.errors.items()
        )
    rows: QuerySet[Schedule] = filters.qs
    return rows
