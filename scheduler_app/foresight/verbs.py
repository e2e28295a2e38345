"""`manage.py schedule fires|why|upcoming|lint`: what a terminal asks of past and coming fires."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rich.console import Group

from executions_app import clock
from executions_app.command_problems import Exit
from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    acting_user,
    add_acting_user,
    facts,
    moment_of,
    row_count,
    table,
    user_named,
)
from executions_app.wording import iso, moment
from scheduler_app.commands import invalid, schedule_named
from scheduler_app.definition import Problem
from scheduler_app.foresight import lint_rows, upcoming, why
from scheduler_app.foresight import shapes as foresight_shapes
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.policies import FireReason

MOST_LINTED = 10_000


def add_to(verbs: Verbs) -> None:
    """Add the verbs to those of `manage.py schedule`."""
    listing = verbs.add("fires", fires, help_text="what became of its fires, the newest first")
    listing.add_argument("schedule", metavar="NAME|ID")
    listing.add_argument("--reason", choices=[one.value for one in FireReason])
    listing.add_argument("--since", metavar="ISO")
    listing.add_argument("--until", metavar="ISO")
    listing.add_argument("--limit", type=row_count, default=50)
    add_acting_user(listing)
    asking = verbs.add("why", explain, help_text="why a fire did or did not run, in a sentence")
    asking.add_argument("schedule", metavar="NAME|ID")
    asking.add_argument("--at", metavar="ISO", help="which fire (default: the latest)")
    add_acting_user(asking)
    ahead = verbs.add("upcoming", look_ahead, help_text="the fires to come of all schedules")
    ahead.add_argument("--hours", type=int, default=24, metavar="N")
    ahead.add_argument("--limit", type=row_count, default=upcoming.USUAL_LIMIT)
    ahead.add_argument("--owner", metavar="NAME", help="only those of this user")
    linting = verbs.add(
        "lint", find_faults, help_text="what will go wrong; exit code 1 if anything"
    )
    linting.add_argument("schedule", metavar="NAME|ID", nargs="?", help="default: all of them")
    add_acting_user(linting)


def fires(options: Options) -> Answer:
    schedule = schedule_named(options["schedule"], user=acting_user(options))
    chosen = FireRecord.objects.filter(schedule_id=schedule.id).order_by("-nominal_at")
    if options["reason"]:
        chosen = chosen.filter(reason=options["reason"])
    if options["since"]:
        chosen = chosen.filter(nominal_at__gte=moment_of(options["since"], field="since"))
    if options["until"]:
        chosen = chosen.filter(nominal_at__lt=moment_of(options["until"], field="until"))
    found = list(chosen[: options["limit"]])
    rows = (
        (
            iso(one.nominal_at),
            one.reason,
            one.count,
            one.nominal_until and iso(one.nominal_until),
            one.cause,
            one.lateness_ms,
            one.execution_id,
        )
        for one in found
    )
    titles = ("PLANNED", "REASON", "COUNT", "UP TO", "CAUSE", "LATE MS", "EXECUTION")
    return Answer([foresight_shapes.fire(one) for one in found], table(*titles, rows=rows))


def explain(options: Options) -> Answer:
    schedule = schedule_named(options["schedule"], user=acting_user(options))
    at = moment_of(options["at"], field="at") if options["at"] else None
    answer = why.explain(schedule, at=at, now=clock.now())
    return Answer(foresight_shapes.why(answer), answer.sentence)


def look_ahead(options: Options) -> Answer:
    if not 1 <= options["hours"] <= upcoming.MOST_HOURS:
        message = f"must be between 1 and {upcoming.MOST_HOURS}"
        raise invalid([Problem(("hours",), "invalid", message)])
    now = clock.now()
    user = user_named(options["owner"]) if options["owner"] else None
    look = upcoming.read(
        user, now=now, until=now + timedelta(hours=options["hours"]), limit=options["limit"]
    )
    rows = (
        (moment(one.nominal_at, now=now), one.name, one.reason, one.due_at and iso(one.due_at))
        for one in look.fires
    )
    crowds = ((iso(one.at), one.count) for one in look.busiest)
    text: list[Any] = [table("FIRES", "SCHEDULE", "WILL BE", "STARTS", rows=rows)]
    if look.busiest:
        text.append(table("MINUTE", "STARTS AT ONCE", rows=crowds))
    if not look.is_complete:
        text.append(f"Complete up to {iso(look.until)}; ask for fewer hours to see no less")
    return Answer(foresight_shapes.upcoming(look), Group(*text))


def find_faults(options: Options) -> Answer:
    if options["schedule"]:
        chosen = [schedule_named(options["schedule"], user=acting_user(options))]
    else:
        rows = Schedule.objects.select_related("calendar").order_by("-id")
        chosen = list(rows[:MOST_LINTED])
    linted = [one for one in lint_rows.read(chosen, now=clock.now()) if one.findings]
    rows_shown = (
        (one.schedule.name, finding.code, finding.message)
        for one in linted
        for finding in one.findings
    )
    document = [foresight_shapes.linted(one) for one in linted]
    if not linted:
        return Answer(document, facts({"looked at": len(chosen), "findings": 0}))
    return Answer(document, table("SCHEDULE", "CODE", "FINDING", rows=rows_shown), Exit.FAILED)
