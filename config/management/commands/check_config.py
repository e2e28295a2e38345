"""`manage.py check_config`: every setting, its value, and whether they fit together."""

from __future__ import annotations

from argparse import ArgumentParser

from rich.console import Group

from config import fit
from config.env import env
from executions_app.command_problems import Exit
from executions_app.commands import Answer, DoorCommand, Options, add_common_options, table


class Command(DoorCommand):
    help = "List every setting (secrets stay hidden) and what does not fit together."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        parser.set_defaults(run=self.check_settings)

    def check_settings(self, _options: Options) -> Answer:
        found, listed = fit.problems(env), fit.settings(env)
        rows = (
            (one.name, one.value, "default" if one.is_default else "set", one.description)
            for one in listed
        )
        document = {
            "ok": not found,
            "problems": found,
            "settings": [one.model_dump() for one in listed],
        }
        text = Group(table("SETTING", "VALUE", "", "MEANING", rows=rows), *found)
        return Answer(document, text, Exit.FAILED if found else Exit.OK)
