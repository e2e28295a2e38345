"""`manage.py calendars`: the weekends, holidays and blackouts that schedules share."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from executions_app.audit import Actor
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    acting_user,
    actor,
    add_acting_user,
    add_common_options,
    as_uuid,
    facts,
    one_line,
    row_count,
    table,
    user_named,
)
from scheduler_app import calendars, schedule_words
from scheduler_app.api.limit_serializers import CalendarSerializer
from scheduler_app.commands import ScheduleCommand
from scheduler_app.models import BusinessCalendar


class Command(ScheduleCommand):
    help = "Business calendars: create, look at and delete them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="calendars, the newest first")
        listing.add_argument("--owner", metavar="NAME", help="only those of this user")
        listing.add_argument("--limit", type=row_count, default=100)
        creating = verbs.add("create", self.create, help_text="store a new calendar")
        creating.add_argument("--file", metavar="PATH|-", help="a JSON object as in REST")
        creating.add_argument("--name")
        creating.add_argument("--timezone", metavar="ZONE")
        creating.add_argument("--weekend", metavar="sat,sun", help="empty: a week without one")
        creating.add_argument(
            "--holiday", action="append", metavar="DATE[=NAME]", help="such as 2026-12-25"
        )
        creating.add_argument("--owner", metavar="NAME", help="default: who acts")
        add_acting_user(creating)
        about_one = (
            ("show", self.show, "everything about one calendar"),
            ("delete", self.delete, "remove one that no schedule follows"),
        )
        verbs.add_about_one(about_one, what="calendar", metavar="NAME|ID")

    def list_all(self, options: Options) -> Answer:
        chosen = BusinessCalendar.objects.order_by("-id")
        if options["owner"]:
            chosen = chosen.filter(owner=user_named(options["owner"]))
        found = list(chosen[: options["limit"]])
        rows = (
            (one.name, one.timezone, _days(one), len(one.holidays), len(one.blackouts))
            for one in found
        )
        shown = table("NAME", "ZONE", "WEEKEND", "HOLIDAYS", "BLACKOUTS", rows=rows)
        return Answer(CalendarSerializer(found, many=True).data, shown)

    def show(self, options: Options) -> Answer:
        return _answer(_named(options))

    def create(self, options: Options) -> Answer:
        user = acting_user(options)
        owner = user_named(options["owner"]) if options["owner"] else user
        parsed = calendars.parse(_words(options))
        return _answer(calendars.create(parsed, owner_id=owner.pk, actor=Actor.of(user)))

    def delete(self, options: Options) -> Answer:
        calendar = _named(options)
        self.confirm(f"Deleting calendar {calendar.name!r}", options)
        calendars.delete(calendar.id, actor=actor(options))
        return Answer({"deleted": calendar.id}, f"Calendar {one_line(calendar.name)} is deleted")


def _words(options: Options) -> dict[str, Any]:
    """The words of the file, and those of the command line, which win."""
    words = schedule_words.from_file(options["file"]) if options["file"] else {}
    for name in ("name", "timezone"):
        if options[name] is not None:
            words[name] = options[name]
    if options["weekend"] is not None:
        words["weekend"] = schedule_words.listed(options["weekend"])
    if options["holiday"]:
        given = (one.partition("=") for one in options["holiday"])
        words["holidays"] = [{"date": day, "name": name} for day, _, name in given]
    return words


def _named(options: Options) -> BusinessCalendar:
    """The calendar of an id, else of a name among those of who acts; raises CommandProblem."""
    reference, user = options["calendar"], acting_user(options)
    as_id = as_uuid(reference)
    rows = BusinessCalendar.objects.all()
    found = (
        rows.filter(name=reference, owner=user).first()
        if as_id is None
        else rows.filter(id=as_id).first()
    )
    if found is None:
        todo = "`manage.py calendars list` shows what there is; name its owner with --user"
        raise CommandProblem(f"There is no calendar {reference!r}", todo, Exit.NOT_FOUND)
    return found


def _days(calendar: BusinessCalendar) -> str:
    return ", ".join(calendar.weekend) or "-"


def _answer(calendar: BusinessCalendar) -> Answer:
    shown = {
        "id": calendar.id,
        "name": calendar.name,
        "owner": calendar.owner.get_username(),
        "zone": calendar.timezone,
        "weekend": _days(calendar),
        "holidays": "; ".join(f"{one['date']} {one['name']}" for one in calendar.holidays) or "-",
        "blackouts": "; ".join(f"{one['from']} to {one['to']}" for one in calendar.blackouts)
        or "-",
        "followed by": ", ".join(calendars.followers(calendar)) or "-",
    }
    return Answer(dict(CalendarSerializer(calendar).data), facts(shown))
