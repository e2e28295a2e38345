"""`manage.py incidents`: executions that fail alike, and what a person decides about them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from typing import Final

from errors_app.commands import incident_documents, incident_named
from errors_app.incidents import deciding
from errors_app.models import Incident
from executions_app import clock
from executions_app.commands import (
    Answer,
    DoorCommand,
    Options,
    Verbs,
    actor,
    add_acting_user,
    add_common_options,
    as_uuid,
    facts,
    row_count,
    table,
)
from executions_app.states import IncidentStatus
from executions_app.wording import moment

DECISIONS: Final[dict[str, tuple[Callable[..., Incident], str]]] = {
    "acknowledge": (deciding.acknowledge, "somebody is at it"),
    "ignore": (deciding.ignore, "it does not matter: counted on, never told of"),
    "resolve": (deciding.resolve, "the cause is gone; the next error opens it again"),
    "reopen": (deciding.reopen, "it was resolved too early; the next success resolves it again"),
}


class Command(DoorCommand):
    help = "Errors that are likes of each other: look at them, decide about them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="those that were seen last first")
        listing.add_argument(
            "--status", choices=[str(one) for one in IncidentStatus], help="in this state"
        )
        listing.add_argument("--schedule", metavar="NAME|ID", help="of this schedule")
        listing.add_argument("--limit", type=row_count, default=50, help="at most so many")
        showing = verbs.add("show", self.show, help_text="everything about one")
        showing.add_argument("incident", metavar="ID", help="which incident")
        for name, (decide, help_text) in DECISIONS.items():
            one = verbs.add(name, partial(self.decide, decide), help_text=help_text)
            one.add_argument("incidents", metavar="ID", nargs="+", help="which ones")
            one.add_argument("--note", default="", help="why, for whoever reads it later")
            add_acting_user(one)

    def list_all(self, options: Options) -> Answer:
        chosen = Incident.objects.order_by("-last_seen_at", "-id")
        if options["status"]:
            chosen = chosen.filter(status=options["status"])
        if options["schedule"]:
            schedule_id = as_uuid(options["schedule"])
            named = {"name": options["schedule"]}
            chosen = chosen.filter(**({"schedule_id": schedule_id} if schedule_id else named))
        found, now = list(chosen[: options["limit"]]), clock.now()
        documents = incident_documents(found)
        rows = (
            (
                one.id,
                one.name,
                one.status,
                one.severity,
                one.error_class,
                one.count,
                document["trend"]["direction"],
                moment(one.last_seen_at, now=now),
                one.title[:80],
            )
            for one, document in zip(found, documents, strict=True)
        )
        shown = table(
            "ID", "NAME", "IS", "SEVERITY", "CLASS", "ERRORS", "TREND", "LAST", "TITLE", rows=rows
        )
        return Answer(documents, shown)

    def show(self, options: Options) -> Answer:
        (document,) = incident_documents([incident_named(options["incident"])])
        trend = document["trend"]
        hours = " ".join(str(number) for number in trend["hours"])
        return Answer(document, facts({**document, "trend": f"{trend['direction']}: {hours}"}))

    def decide(self, decide: Callable[..., Incident], options: Options) -> Answer:
        chosen = [incident_named(reference) for reference in options["incidents"]]
        act = partial(decide, actor=actor(options), note=options["note"])
        decided = [act(incident) for incident in chosen]
        said = "\n".join(f"{one.id} is {one.status}" for one in decided)
        return Answer(incident_documents(decided), said)
