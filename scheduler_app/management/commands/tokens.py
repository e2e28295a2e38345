"""`manage.py tokens`: what the models that executions asked have used, in tokens and money."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta

from rich.console import Group

from agents_app import usage
from executions_app import clock
from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    acting_user,
    add_common_options,
    execution_named,
    facts,
    moment_of,
    row_count,
    table,
)
from executions_app.wording import iso
from scheduler_app.commands import ScheduleCommand, schedule_named
from scheduler_app.models import Schedule

USUAL_DAYS = 30


class Command(ScheduleCommand):
    help = "Tokens and money that models have used."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        report = Verbs(parser).add("report", self.report, help_text="sums, by day unless said")
        report.add_argument("--by", choices=list(usage.GROUPS), default="day", help="what to sum")
        report.add_argument("--schedule", metavar="NAME|ID", help="only this schedule")
        report.add_argument("--execution", metavar="NUMBER|ID", help="only this execution")
        report.add_argument("--since", metavar="ISO", help=f"default: {USUAL_DAYS} days ago")
        report.add_argument("--until", metavar="ISO", help="before that instant")
        report.add_argument("--limit", type=row_count, default=50, help="at most so many rows")
        report.add_argument("--user", metavar="NAME", help="only what belongs to this user")

    def report(self, options: Options) -> Answer:
        which = _which(options)
        totals = usage.totals(which)
        groups = usage.grouped(which, by=options["by"])[: options["limit"]]
        names = _names(groups) if options["by"] == "schedule" else {}
        rows = ((names.get(one.key, one.key), *_cells(one.totals)) for one in groups)
        columns = (options["by"].upper(), "CALLS", "NO USE", "PROMPT", "ANSWER", "TOKENS", "USD")
        shown = Group(
            table(*columns, rows=rows),
            facts(
                {"all": f"{totals.tokens} tokens in {totals.calls} calls, {totals.cost_usd:f} USD"}
            ),
        )
        document = {
            "since": iso(which.since) if which.since else None,
            "until": iso(which.until) if which.until else None,
            "by": options["by"],
            "totals": totals.as_json(),
            "groups": [one.as_json() for one in groups],
        }
        return Answer(document, shown)


def _cells(of: usage.Totals) -> tuple[object, ...]:
    no_use = of.failed + of.malformed
    numbers = (of.calls, no_use, of.prompt_tokens, of.completion_tokens, of.tokens)
    return (*numbers, f"{of.cost_usd:f}")


def _which(options: Options) -> usage.Which:
    user = acting_user(options) if options["user"] else None
    schedule, execution = options["schedule"], options["execution"]
    since, until = options["since"], options["until"]
    return usage.Which(
        schedule_id=schedule_named(schedule, user=user).id if schedule else None,
        execution_id=execution_named(execution).id if execution else None,
        owner_id=user.pk if user else None,
        since=moment_of(since, field="since")
        if since
        else clock.now() - timedelta(days=USUAL_DAYS),
        until=moment_of(until, field="until") if until else None,
    )


def _names(groups: list[usage.Group]) -> dict[str, str]:
    found = Schedule.objects.filter(id__in=[one.key for one in groups if one.key])
    return {str(id_): name for id_, name in found.values_list("id", "name")}
