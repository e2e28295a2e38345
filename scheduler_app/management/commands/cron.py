"""`manage.py cron explain`: what a cron expression means, before any schedule has it."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Group

from executions_app.commands import Answer, Options, Verbs, add_common_options, moment_of, table
from scheduler_app import explain
from scheduler_app.commands import ScheduleCommand, invalid
from scheduler_app.definition import Problem

MOST_FIRES = 1000


class Command(ScheduleCommand):
    help = "Explain a cron expression; needs no running system."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        one = Verbs(parser).add(
            "explain", self.explain, help_text="the sentence, the next fires, what may surprise"
        )
        one.add_argument("expression", metavar="EXPR", help="five fields, or a macro as @daily")
        one.add_argument("--tz", default="UTC", metavar="ZONE", help="IANA zone (default: UTC)")
        one.add_argument("-n", type=int, default=5, dest="count", help="how many fires")
        one.add_argument("--after", metavar="ISO", help="fires after this instant (default: now)")

    def explain(self, options: Options) -> Answer:
        if not 1 <= options["count"] <= MOST_FIRES:
            raise invalid([Problem(("n",), "invalid", f"must be between 1 and {MOST_FIRES}")])
        after = (
            moment_of(options["after"], field="after") if options["after"] else datetime.now(UTC)
        )
        explained = explain.explain(
            options["expression"], options["tz"], after=after, count=options["count"]
        )
        fires = ((one.utc, f"{one.local}{one.offset}") for one in explained.fires)
        text = Group(
            explained.sentence,
            table("UTC", options["tz"], rows=fires),
            *(f"! {warning}" for warning in explained.warnings),
        )
        return Answer(asdict(explained), text)
