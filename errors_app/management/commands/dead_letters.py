"""`manage.py dead_letters`: executions that were given up, to be requeued or let go."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial

from django.db.models import QuerySet
from rich.console import Group

from errors_app import handling, history
from errors_app.api.filters import DeadLetterFilter
from errors_app.commands import (
    add_parameters,
    edited,
    letter_document,
    letter_named,
    told_letter_document,
)
from errors_app.models import DeadLetter
from errors_app.taxonomy import ErrorClass
from executions_app import clock
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    DoorCommand,
    Options,
    Verbs,
    actor,
    add_acting_user,
    add_common_options,
    as_uuid,
    facts,
    one_line,
    row_count,
    table,
)
from executions_app.wording import moment


class Command(DoorCommand):
    help = "Executions that were given up: look at them, requeue or discard them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="open ones, the newest first")
        listing.add_argument("--all", action="store_true", help="also those that were handled")
        listing.add_argument("--schedule", metavar="NAME|ID", help="only those of this schedule")
        listing.add_argument(
            "--class",
            dest="error_class",
            choices=[str(one) for one in ErrorClass],
            help="only those of this class",
        )
        listing.add_argument("--after", metavar="ISO", help="given up at that instant or later")
        listing.add_argument("--before", metavar="ISO", help="given up before that instant")
        listing.add_argument("--limit", type=row_count, default=50, help="at most so many")
        showing = verbs.add("show", self.show, help_text="one with its attempts and last error")
        showing.add_argument("letter", metavar="ID|EXECUTION", help="which one")
        for name, run, help_text in (
            ("requeue", self.requeue, "a new budget of attempts, due at once"),
            ("discard", self.discard, "let them go: never run again"),
        ):
            one = verbs.add(name, run, help_text=help_text)
            one.add_argument("letters", metavar="ID|EXECUTION", nargs="+", help="which ones")
            one.add_argument("--note", default="", help="why, for whoever reads it later")
            if name == "requeue":
                add_parameters(one)
            add_acting_user(one)

    def list_all(self, options: Options) -> Answer:
        found, now = list(_chosen(options)[: options["limit"]]), clock.now()
        rows = (
            (
                one.id,
                one.payload.get("snapshot", {}).get("name"),
                one.attempts,
                one.error_class,
                one.handling or "open",
                moment(one.created_at, now=now),
                one.message[:80],
            )
            for one in found
        )
        shown = table("ID", "NAME", "TRIES", "CLASS", "IS", "SINCE", "MESSAGE", rows=rows)
        return Answer([letter_document(one) for one in found], shown)

    def show(self, options: Options) -> Answer:
        letter = letter_named(options["letter"])
        story, now = history.of_letter(letter), clock.now()
        shown: dict[str, object] = {
            "id": letter.id,
            "name": letter.payload.get("snapshot", {}).get("name"),
            "execution": f"{letter.execution_id} {story.execution_status or 'is not kept'}",
            "is": letter.handling or "open",
            "since": moment(letter.created_at, now=now),
            "task": letter.payload.get("snapshot", {}).get("task_type"),
            "parameters": letter.payload.get("parameters"),
        }
        for one in story.failed_attempts:
            said = f"{one.error_class}: {one.message[:200]}"
            shown[f"attempt {one.attempt}"] = f"{moment(one.ended_at, now=now)} {said}"
        stack = story.last_error.stack.splitlines() if story.last_error else []
        text = Group(facts(shown), *map(one_line, stack))
        return Answer(told_letter_document(letter), text)

    def requeue(self, options: Options) -> Answer:
        return self._handle(partial(handling.requeue, **edited(options)), options)

    def discard(self, options: Options) -> Answer:
        self.confirm(f"Discarding {len(options['letters'])} dead letters", options)
        return self._handle(handling.discard, options)

    def _handle(self, handle: Callable[..., DeadLetter], options: Options) -> Answer:
        chosen = [letter_named(reference) for reference in options["letters"]]
        act = partial(handle, actor=actor(options), note=options["note"])
        handled = [act(letter) for letter in chosen]
        said = "\n".join(f"{one.id} is {one.handling}" for one in handled)
        return Answer([letter_document(one) for one in handled], said)


def _chosen(options: Options) -> QuerySet[DeadLetter]:
    """The dead letters that the options of the list name, the newest first."""
    rows, schedule = DeadLetter.objects.order_by("-id"), options["schedule"]
    if schedule and as_uuid(schedule) is None:
        rows, schedule = history.letters_of(schedule).order_by("-id"), None
    words = {
        "handling": "all" if options["all"] else "open",
        "schedule_id": schedule,
        "error_class": options["error_class"],
        "created_after": options["after"],
        "created_before": options["before"],
    }
    filters = DeadLetterFilter(data=words, queryset=rows)
    if not filters.is_valid():
        found = {name: str(problems[0]) for name, problems in filters.errors.items()}
        said = "; ".join(f"{name}: {problem}" for name, problem in found.items())
        raise CommandProblem(said, "Correct it and repeat", Exit.USAGE, fields=found)
    chosen: QuerySet[DeadLetter] = filters.qs
    return chosen
