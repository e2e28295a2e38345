"""`manage.py simulate`: the days ahead with the real rules and policies, touching nothing."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from rich.console import Group

from executions_app import clock
from executions_app.commands import (
    Answer,
    Options,
    add_common_options,
    facts,
    moment_of,
    table,
    user_named,
)
from executions_app.wording import duration, iso
from scheduler_app.commands import ScheduleCommand, invalid
from scheduler_app.definition import Problem
from scheduler_app.foresight import simulate, simulation_measures

SHOWN = 10
BOUNDS = {"days": simulate.MOST_DAYS, "slots": 1_000_000, "unrecorded_ms": 7 * 86_400_000}


class Command(ScheduleCommand):
    help = "Let the days ahead happen with the real rules and policies, touching nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        parser.set_defaults(run=self.simulate)
        parser.add_argument("--days", type=int, default=7, metavar="N")
        parser.add_argument("--from", dest="begin", metavar="ISO", help="default: now")
        parser.add_argument(
            "--slots",
            type=int,
            default=simulate.SLOTS,
            metavar="N",
            help=f"how many executions run at once (default: {simulate.SLOTS})",
        )
        parser.add_argument(
            "--unrecorded-ms",
            type=int,
            default=1_000,
            metavar="N",
            help="how long takes what never ran (default: 1000)",
        )
        parser.add_argument("--owner", metavar="NAME", help="only the schedules of this user")

    def simulate(self, options: Options) -> Answer:
        for name, most in BOUNDS.items():
            if not 1 <= options[name] <= most:
                message = f"must be between 1 and {most}"
                raise invalid([Problem((name.replace("_", "-"),), "invalid", message)])
        now = clock.now()
        begin = moment_of(options["begin"], field="from") if options["begin"] else now
        if begin < now:
            raise invalid([Problem(("from",), "past", "lies in the past")])
        until = begin + timedelta(days=options["days"])
        measures = simulate.run(
            user_named(options["owner"]) if options["owner"] else None,
            begin=begin,
            until=until,
            slots=options["slots"],
            unrecorded=timedelta(milliseconds=options["unrecorded_ms"]),
            progress=lambda at: self._tell_time(at, begin, until),
        )
        document = {**simulation_measures.document(measures), "assumed": list(simulate.ASSUMED)}
        return Answer(document, _text(document))

    def _tell_time(self, at: datetime, begin: datetime, until: datetime) -> None:
        self.say(f"{(at - begin) / (until - begin):4.0%}  {iso(at)}")


def _text(document: dict[str, Any]) -> Group:
    wait = document["wait_ms"]
    shown = {
        "from": iso(document["from"]),
        "until": iso(document["until"]),
        "fires": document["fires"],
        **{f"  {reason}": count for reason, count in document["reasons"].items()},
        "executions": document["executions"],
        "slots": f"{document['slots']}, {document['load']:.1%} busy, at most "
        f"{document['most_running']} at once",
        "queue": f"at most {document['most_queued']}, and {document['most_held']} held by limits",
        "wait": f"50 of 100 up to {_ms(wait['p50'])}, 95 up to {_ms(wait['p95'])}, "
        f"the longest {_ms(wait['max'])}",
        "not ended": document["unfinished"],
    }
    crowds = ((iso(one["at"]), one["count"]) for one in document["busiest_minutes"])
    return Group(
        facts(shown),
        table("BUSIEST MINUTE", "FIRES", rows=crowds),
        table("SCHEDULE", "FIRES", "LONGEST WAIT", rows=_most_fires(document["schedules"])),
        *([] if document["is_complete"] else ["! It ended early: there were too many fires"]),
        *(f"Assumed: {one}." for one in document["assumed"]),
    )


def _most_fires(schedules: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    ordered = sorted(schedules, key=lambda one: -sum(one["reasons"].values()))
    for one in ordered[:SHOWN]:
        fires = ", ".join(f"{count} {reason}" for reason, count in one["reasons"].items())
        yield one["name"], fires, _ms(one["longest_wait_ms"])


def _ms(milliseconds: int) -> str:
    return duration(timedelta(milliseconds=milliseconds))
