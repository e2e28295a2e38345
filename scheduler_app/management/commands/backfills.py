"""`manage.py backfills`: how far backfills have come; pause, resume and abort them."""

from __future__ import annotations

from argparse import ArgumentParser

from executions_app import clock
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
    row_count,
    table,
)
from executions_app.wording import iso, moment
from scheduler_app import backfills
from scheduler_app.commands import ScheduleCommand, schedule_named
from scheduler_app.foresight import shapes
from scheduler_app.models import Backfill


class Command(ScheduleCommand):
    help = "Backfills: look at them, pause, resume and abort them; `backfill` begins one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="backfills, the newest first")
        listing.add_argument("--schedule", metavar="NAME|ID", help="only those of this one")
        listing.add_argument("--limit", type=row_count, default=100)
        add_acting_user(listing)
        about_one = (
            ("show", self.show, "how far one has come"),
            ("pause", self.pause, "make no further executions until it is resumed"),
            ("resume", self.resume, "go on where it was paused"),
            ("abort", self.abort, "end it: what has not started is cancelled, what runs goes on"),
        )
        verbs.add_about_one(about_one, what="backfill", metavar="ID")

    def list_all(self, options: Options) -> Answer:
        chosen = Backfill.objects.order_by("-id")
        if options["schedule"]:
            schedule = schedule_named(options["schedule"], user=acting_user(options))
            chosen = chosen.filter(schedule_id=schedule.id)
        found = list(chosen[: options["limit"]])
        rows = (
            (one.id, one.schedule_id, one.status, f"{one.made} of {one.total}",
             iso(one.range_from), iso(one.range_until))
            for one in found
        )  # fmt: skip
        shown = table("ID", "SCHEDULE", "STATUS", "MADE", "FROM", "TO", rows=rows)
        return Answer([_document(one) for one in found], shown)

    def show(self, options: Options) -> Answer:
        return _answer(_named(options))

    def pause(self, options: Options) -> Answer:
        return _answer(backfills.pause(_named(options).id, actor=actor(options)))

    def resume(self, options: Options) -> Answer:
        return _answer(backfills.resume(_named(options).id, actor=actor(options)))

    def abort(self, options: Options) -> Answer:
        backfill = _named(options)
        self.confirm(f"Aborting backfill {backfill.id}", options)
        return _answer(backfills.abort(backfill.id, actor=actor(options)))


def _named(options: Options) -> Backfill:
    """The backfill of an id; raises CommandProblem."""
    reference = options["backfill"]
    as_id = as_uuid(reference)
    found = as_id and Backfill.objects.filter(id=as_id).first()
    if not found:
        todo = "`manage.py backfills list` shows what there is"
        raise CommandProblem(f"There is no backfill {reference!r}", todo, Exit.NOT_FOUND)
    return found


def _document(backfill: Backfill) -> dict[str, object]:
    return shapes.backfill(backfill, active=backfills.active(backfill).count())


def _answer(backfill: Backfill) -> Answer:
    document = _document(backfill)
    shown = {
        "id": backfill.id,
        "schedule": backfill.schedule_id,
        "status": backfill.status,
        "range": f"{iso(backfill.range_from)} to {iso(backfill.range_until)}",
        "made": f"{backfill.made} of {backfill.total}, {document['active']} have not ended",
        "at once": backfill.max_concurrent,
        "is at": moment(backfill.cursor, now=clock.now()),
    }
    return Answer(document, facts(shown))
