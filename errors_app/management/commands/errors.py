"""`manage.py errors`: what went wrong, and what a person decides about it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from django.db.models import QuerySet
from rich.console import Group

from errors_app import handling, history
from errors_app.commands import (
    add_parameters,
    edited,
    error_document,
    error_named,
    incident_named,
)
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass
from executions_app import clock
from executions_app.commands import (
    Answer,
    DoorCommand,
    Options,
    Verbs,
    actor,
    add_acting_user,
    add_common_options,
    as_uuid,
    execution_named,
    facts,
    one_line,
    row_count,
    table,
)
from executions_app.models import SystemState
from executions_app.states import RecoveryStatus
from executions_app.wording import moment

DECISIONS: Final[dict[str, tuple[Callable[..., ErrorRecord], str]]] = {
    "retry": (handling.retry, "run its execution again, now"),
    "resolve": (
        handling.resolve,
        "the cause is gone: the record is closed, the rest stays",
    ),
    "ignore": (handling.ignore, "it does not matter: the record is closed, the rest stays"),
    "escalate": (handling.escalate, "a person has to look at it"),
}
SWITCHES: Final[dict[str, tuple[Callable[..., None], str]]] = {
    "start": (handling.start_recovery, "let retries be dispatched again"),
    "stop": (handling.stop_recovery, "hold all retries back; first attempts go on"),
}
COUNTED: Final = ("recovery_status", "error_class", "severity")
MOST_COUNTED: Final = 10_000


class Command(DoorCommand):
    help = "Look at errors; retry, resolve, ignore or escalate them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="errors, the newest first")
        listing.add_argument(
            "--status", choices=[str(one) for one in RecoveryStatus], help="in this state"
        )
        listing.add_argument(
            "--class",
            dest="error_class",
            choices=[str(one) for one in ErrorClass],
            help="of this class",
        )
        listing.add_argument("--schedule", metavar="NAME|ID", help="of this schedule")
        listing.add_argument("--execution", metavar="NUMBER|ID", help="of this execution")
        listing.add_argument("--incident", metavar="ID", help="of this incident")
        listing.add_argument("--limit", type=row_count, default=50, help="at most so many")
        verbs.add("status", self.status, help_text="how many of each kind")
        showing = verbs.add("show", self.show, help_text="one error with its stack")
        showing.add_argument("error", metavar="ID", help="which error")
        for name, (decide, help_text) in DECISIONS.items():
            one = verbs.add(name, partial(self.decide, decide), help_text=help_text)
            one.add_argument("errors", metavar="ID", nargs="+", help="which ones")
            one.add_argument("--note", default="", help="why, for whoever reads it later")
            if name == "retry":
                add_parameters(one)
            add_acting_user(one)
        for name, (switch, help_text) in SWITCHES.items():
            one = verbs.add(name, partial(self.switch, switch), help_text=help_text)
            add_acting_user(one)

    def switch(self, switch: Callable[..., None], options: Options) -> Answer:
        switch(actor(options))
        is_running = SystemState.objects.get().error_recovery_running
        said = "Retries are dispatched" if is_running else "Retries wait until `errors start`"
        return Answer({"error_recovery_running": is_running}, said)

    def list_all(self, options: Options) -> Answer:
        found, now = list(_chosen(options)[: options["limit"]]), clock.now()
        rows = (
            (
                one.id,
                one.context.get("name"),
                one.attempt,
                one.error_class,
                one.severity,
                one.recovery_status,
                moment(one.ended_at, now=now),
                one.message[:80],
            )
            for one in found
        )
        shown = table(
            "ID", "NAME", "TRY", "CLASS", "SEVERITY", "RECOVERY", "WHEN", "MESSAGE", rows=rows
        )
        return Answer([error_document(one) for one in found], shown)

    def status(self, _options: Options) -> Answer:
        # Counting them all would read every error there is.
        newest = list(ErrorRecord.objects.order_by("-id").values(*COUNTED)[:MOST_COUNTED])
        counts = {field: Counter(one[field] for one in newest) for field in COUNTED}
        open_letters = DeadLetter.objects.filter(handling="").count()
        rows = [
            (field, value, number)
            for field, numbers in counts.items()
            for value, number in sorted(numbers.items())
        ]
        shown = table("OF", "IS", "COUNT", rows=[*rows, ("dead letters", "open", open_letters)])
        is_partial = len(newest) == MOST_COUNTED
        document = {**counts, "open_dead_letters": open_letters, "is_partial": is_partial}
        said = f"Of the newest {MOST_COUNTED} errors" if is_partial else ""
        return Answer(document, Group(said, shown) if said else shown)

    def show(self, options: Options) -> Answer:
        record = error_named(options["error"])
        document = error_document(record)
        shown = {name: value for name, value in document.items() if name != "stack"}
        return Answer(document, Group(facts(shown), "", record.stack))

    def decide(self, decide: Callable[..., ErrorRecord], options: Options) -> Answer:
        chosen = [error_named(reference) for reference in options["errors"]]
        act = partial(decide, actor=actor(options), note=options["note"], **edited(options))
        decided = [act(record) for record in chosen]
        said = "\n".join(f"{one.id} is {one_line(one.recovery_status)}" for one in decided)
        for number, at in _still_tried(decided):
            when = moment(at, now=clock.now())
            said += f"\nExecution #{number} is still to be tried, {when}: cancel it if not"
        return Answer([error_document(one) for one in decided], said)


def _still_tried(decided: Sequence[ErrorRecord]) -> list[tuple[int, datetime]]:
    """What goes on although its error was closed, and when."""
    closed = (RecoveryStatus.RESOLVED, RecoveryStatus.IGNORED)
    found = history.outlooks(one for one in decided if one.recovery_status in closed)
    return sorted(
        {(one.number, one.tried_at) for one in found.values() if one.number and one.tried_at}
    )


def _chosen(options: Options) -> QuerySet[ErrorRecord]:
    chosen = ErrorRecord.objects.order_by("-id")
    if options["status"]:
        chosen = chosen.filter(recovery_status=options["status"])
    if options["error_class"]:
        chosen = chosen.filter(error_class=options["error_class"])
    if options["schedule"]:
        schedule_id = as_uuid(options["schedule"])
        named = {"context__name": options["schedule"]}
        chosen = chosen.filter(**({"schedule_id": schedule_id} if schedule_id else named))
    if options["execution"]:
        chosen = chosen.filter(execution_id=execution_named(options["execution"]).id)
    if options["incident"]:
        chosen = chosen.filter(incident_id=incident_named(options["incident"]).id)
    return chosen
