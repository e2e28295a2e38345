"""`manage.py retention`: months of the large tables are there ahead of time, and go in time."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from rich.console import Group

from executions_app import clock, partitions, retention
from executions_app.commands import (
    Answer,
    DoorCommand,
    Options,
    add_common_options,
    facts,
    table,
)


class Command(DoorCommand):
    help = (
        f"Make the partitions of the next {partitions.MONTHS_AHEAD} months, let go what ended more "
        f"than {retention.KEPT.days} days ago, list what exists."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        parser.add_argument(
            "--dry-run", action="store_true", help="only tell which months would be looked at"
        )
        parser.set_defaults(run=self.keep)

    def keep(self, options: Options) -> Answer:
        now = clock.now()
        whole: list[str] = []
        in_part: list[str] = []
        for one in retention.past(now):
            (whole if retention.may_go(one, now=now) else in_part).append(one.name)
        planned = {"past_as_a_whole": whole, "past_in_part": in_part}
        if options["dry_run"]:
            return self._answer(planned)
        partitions.ensure_ahead(now)
        if whole or in_part:
            days = retention.KEPT.days
            what = f"{len(whole)} whole months and what may go of {len(in_part)} others"
            self.confirm(f"Let go what ended more than {days} days ago ({what})", options)
        return self._answer({**planned, **asdict(retention.apply(now))})

    def _answer(self, done: dict[str, Any]) -> Answer:
        existing = {one.name: partitions.existing(one) for one in partitions.TABLES}
        rows = ((name, len(made), made[-1] if made else None) for name, made in existing.items())
        shown = table("TABLE", "MONTHS", "LAST", rows=rows)
        words = {name.replace("_", " "): _text(value) for name, value in done.items()}
        return Answer({"partitions": existing, **done}, Group(shown, "", facts(words)))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {number}" for name, number in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
