"""`manage.py tokens`: what models have used, in tokens and money, and what a next prompt takes."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta

from pydantic import ValidationError
from rich.console import Group

from agents_app import prompt_preview, usage
from agents_app.agent_config import PromptOptimization
from agents_app.models_cycles import Phase
from agents_app.planning.prompts import PHASES
from agents_app.prompt_preview import NextRun, Preview
from executions_app import clock
from executions_app.command_problems import CommandProblem, Exit
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
from scheduler_app import fires
from scheduler_app.commands import ScheduleCommand, schedule_named
from scheduler_app.models import Schedule

USUAL_DAYS = 30
LIMITS = tuple(PromptOptimization.model_fields)


class Command(ScheduleCommand):
    help = "Tokens and money that models have used."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        report = verbs.add("report", self.report, help_text="sums, by day unless said")
        report.add_argument("--by", choices=list(usage.GROUPS), default="day", help="what to sum")
        report.add_argument("--schedule", metavar="NAME|ID", help="only this schedule")
        report.add_argument("--execution", metavar="NUMBER|ID", help="only this execution")
        report.add_argument("--since", metavar="ISO", help=f"default: {USUAL_DAYS} days ago")
        report.add_argument("--until", metavar="ISO", help="before that instant")
        report.add_argument("--limit", type=row_count, default=50, help="at most so many rows")
        report.add_argument("--user", metavar="NAME", help="only what belongs to this user")
        told = verbs.add("prompt", self.prompt, help_text="what the next run's prompt would take")
        told.add_argument("schedule", metavar="NAME|ID", help="which AI schedule")
        told.add_argument("--phase", choices=PHASES, default="plan", help="default: plan")
        for limit in LIMITS:
            option = f"--{limit.replace('_', '-')}"
            told.add_argument(option, type=int, metavar="N", help="instead of the schedule's")
        told.add_argument("--user", metavar="NAME", help="the owner, where a name is not enough")

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

    def prompt(self, options: Options) -> Answer:
        user = acting_user(options) if options["user"] else None
        schedule = schedule_named(options["schedule"], user=user)
        if schedule.task_type != fires.AGENT:
            todo = "Only schedules of the task type 'agent' have prompts"
            raise CommandProblem(f"{schedule.name!r} asks no model", todo, Exit.USAGE)
        limits = {one: options[one] for one in LIMITS if options[one] is not None}
        try:
            found = prompt_preview.preview(
                _next_run(schedule),
                phase=Phase(options["phase"]),
                limits=limits,
                now=clock.now(),
            )
        except ValidationError as error:
            wrong = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
            todo = "Nothing was looked at; correct it and repeat"
            raise CommandProblem(wrong, todo, Exit.USAGE) from None
        return Answer(found.as_json(), _shown(found))


def _next_run(schedule: Schedule) -> NextRun:
    return NextRun(
        schedule_id=schedule.id,
        owner_id=schedule.owner_id,
        snapshot=fires.snapshot(schedule),
        parameters={},
        next_run_at=schedule.next_run_at,
    )


def _shown(found: Preview) -> Group:
    report = found.report
    rows = ((one.name, one.before, one.after) for one in report.sections)
    dropped = ", ".join(f"{number} of {name}" for name, number in report.dropped.items())
    agent = f"{found.agent.name} ({found.agent.model})" if found.agent else "no agent can do it"
    told = {
        "whole prompt": f"{report.tokens_before} -> {report.tokens_after} tokens, estimated",
        "saved": report.delta,
        "limit": f"{report.max_tokens}, {'kept' if report.fits else 'not kept: see the guide'}",
        "left out": dropped or "nothing",
        "asked": agent,
    }
    return Group(table("SECTION", "BEFORE", "AFTER", rows=rows), facts(told))


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
