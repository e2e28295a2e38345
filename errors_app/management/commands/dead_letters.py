"""`manage.py dead_letters`: executions that were given up, to be requeued or let go."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial

from errors_app import handling
from errors_app.commands import letter_document, letter_named
from errors_app.models import DeadLetter
from executions_app import clock
from executions_app.commands import (
    Answer,
    DoorCommand,
    Options,
    Verbs,
    actor,
    add_acting_user,
    add_common_options,
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
        listing.add_argument("--limit", type=row_count, default=50)
        for name, run, help_text in (
            ("requeue", self.requeue, "a new budget of attempts, due at once"),
            ("discard", self.discard, "let them go: never run again"),
        ):
            one = verbs.add(name, run, help_text=help_text)
            one.add_argument("letters", metavar="ID|EXECUTION", nargs="+")
            one.add_argument("--note", default="", help="why, for whoever reads it later")
            add_acting_user(one)

    def list_all(self, options: Options) -> Answer:
        chosen = DeadLetter.objects.order_by("-id")
        if not options["all"]:
            chosen = chosen.filter(handling="")
        found, now = list(chosen[: options["limit"]]), clock.now()
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

    def requeue(self, options: Options) -> Answer:
        return self._handle(handling.requeue, options)

    def discard(self, options: Options) -> Answer:
        self.confirm(f"Discarding {len(options['letters'])} dead letters", options)
        return self._handle(handling.discard, options)

    def _handle(self, handle: Callable[..., DeadLetter], options: Options) -> Answer:
        chosen = [letter_named(reference) for reference in options["letters"]]
        act = partial(handle, actor=actor(options), note=options["note"])
        handled = [act(letter) for letter in chosen]
        said = "\n".join(f"{one.id} is {one.handling}" for one in handled)
        return Answer([letter_document(one) for one in handled], said)
