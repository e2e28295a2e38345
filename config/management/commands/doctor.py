"""`manage.py doctor`: each part of the installation is ok, or what is wrong and the fix."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict

from config import doctor
from config.doctor import Level
from executions_app.command_problems import Exit
from executions_app.commands import Answer, DoorCommand, Options, add_common_options, table


class Command(DoorCommand):
    help = "Check every part of the installation; fails if one of them does."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        parser.set_defaults(run=self.examine)

    def examine(self, _options: Options) -> Answer:
        findings = doctor.examine()
        worst = doctor.worst(findings)
        rows = ((one.level, one.name, one.fact, one.fix) for one in findings)
        return Answer(
            {"status": worst, "checks": [asdict(one) for one in findings]},
            table("", "CHECK", "FOUND", "FIX", rows=rows),
            Exit.FAILED if worst is Level.FAIL else Exit.OK,
        )
