"""`manage.py backfill`: run the past fires of a schedule in a range, or see what that would be."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any, Final

from executions_app.command_problems import CommandProblem
from executions_app.commands import (
    Answer,
    Options,
    acting_user,
    actor,
    add_acting_user,
    add_common_options,
    facts,
    moment_of,
)
from executions_app.wording import iso
from scheduler_app import backfills, permissions
from scheduler_app.backfill_plan import InvalidBackfill
from scheduler_app.commands import ScheduleCommand, invalid, schedule_named
from scheduler_app.definition import Problem
from scheduler_app.foresight import shapes as foresight_shapes

OPTIONS: Final = {"until": "to", "max_concurrent": "max-concurrent"}


class Command(ScheduleCommand):
    help = "Run the past fires of a schedule in a range, a few at a time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        parser.set_defaults(run=self.backfill)
        parser.add_argument("schedule", metavar="SCHEDULE", help="its name or id")
        parser.add_argument("--from", dest="begin", metavar="ISO", required=True)
        parser.add_argument("--to", dest="end", metavar="ISO", required=True)
        parser.add_argument("--max-concurrent", type=int, default=1, metavar="N")
        parser.add_argument("--dry-run", action="store_true", help="only say what would run")
        add_acting_user(parser)

    def problem_of(self, error: BaseException) -> CommandProblem | None:
        if isinstance(error, InvalidBackfill):
            option = OPTIONS.get(error.field, error.field)
            return invalid([Problem((option,), "invalid", error.message)])
        return super().problem_of(error)

    def backfill(self, options: Options) -> Answer:
        user = acting_user(options)
        schedule = schedule_named(options["schedule"], user=user)
        first = moment_of(options["begin"], field="from")
        until = moment_of(options["end"], field="to")
        if options["dry_run"]:
            plan = backfills.plan(schedule, first=first, until=until)
            document: dict[str, Any] = {"dry_run": True, **asdict(plan)}
            shown = {
                "would run": plan.runs,
                "skipped by its window": plan.skipped,
                "have run by themselves": plan.recorded,
                "first": ", ".join(iso(one) for one in plan.first_fires),
                "last": plan.last_fire and iso(plan.last_fire),
            }
            return Answer(document, facts(shown))
        permissions.check_task_type(user, schedule.task_type)
        made = backfills.create(
            schedule,
            first=first,
            until=until,
            max_concurrent=options["max_concurrent"],
            actor=actor(options),
        )
        text = f"Backfill {made.id} runs {made.total} fires, {made.max_concurrent} at once"
        return Answer(foresight_shapes.backfill(made, active=0), text)
