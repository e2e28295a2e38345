"""`manage.py retention`: the monthly partitions of the large tables are there ahead of time."""

from __future__ import annotations

from argparse import ArgumentParser

from executions_app import clock, partitions
from executions_app.commands import Answer, DoorCommand, Options, add_common_options, table


class Command(DoorCommand):
    help = f"Make the partitions of the next {partitions.MONTHS_AHEAD} months; list what exists."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        parser.set_defaults(run=self.make_partitions)

    def make_partitions(self, _options: Options) -> Answer:
        partitions.ensure_ahead(clock.now())
        existing = {one.name: partitions.existing(one) for one in partitions.TABLES}
        rows = ((name, len(made), made[-1] if made else None) for name, made in existing.items())
        return Answer({"partitions": existing}, table("TABLE", "MONTHS", "LAST", rows=rows))
