"""`manage.py breakers`: endpoints that executions call; let calls go out again by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from errors_app.api.breaker_serializers import BreakerSerializer
from errors_app.breakers import figures, handling
from errors_app.breakers.figures import Health
from errors_app.models import Breaker
from executions_app import clock
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    DoorCommand,
    Options,
    Verbs,
    actor,
    add_acting_user,
    add_common_options,
    as_uuid,
    row_count,
    table,
)
from executions_app.states import BreakerStatus
from executions_app.wording import moment


class Command(DoorCommand):
    help = "Endpoints that executions call, and those that are left alone because they fail."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="those that are not closed first")
        listing.add_argument("--limit", type=row_count, default=200)
        resetting = verbs.add(
            "reset", self.reset, help_text="close it and forget what it counted: calls go out again"
        )
        resetting.add_argument("breakers", metavar="ENDPOINT|ID", nargs="+")
        resetting.add_argument("--note", default="", help="why, for the audit log")
        add_acting_user(resetting)

    def list_all(self, options: Options) -> Answer:
        limit = options["limit"]
        rows = list(Breaker.objects.exclude(state=BreakerStatus.CLOSED).order_by("-id")[:limit])
        closed = Breaker.objects.filter(state=BreakerStatus.CLOSED).order_by("-id")
        rows += closed[: limit - len(rows)]
        return _answer(figures.of(rows))

    def reset(self, options: Options) -> Answer:
        chosen = [breaker_named(one) for one in options["breakers"]]
        acting = actor(options)
        done = [handling.reset(one, actor=acting, note=options["note"]) for one in chosen]
        return _answer(figures.of(done))


def breaker_named(reference: str) -> Breaker:
    """The breaker of an endpoint or an id; raises CommandProblem."""
    as_id = as_uuid(reference)
    chosen = Breaker.objects.filter(id=as_id) if as_id else Breaker.objects.filter(key=reference)
    found = chosen.first()
    if found is None:
        todo = "`manage.py breakers list` shows what there is"
        raise CommandProblem(f"There is no breaker {reference!r}", todo, Exit.NOT_FOUND)
    return found


def _answer(found: list[Health]) -> Answer:
    now = clock.now()
    rows = (
        (
            one.key,
            one.state if one.is_live else f"{one.state} (Redis is away)",
            moment(one.since, now=now),
            moment(one.next_probe_at, now=now),
            one.calls,
            one.failures,
            one.latency_ms,
            one.reason,
        )
        for one in found
    )
    shown = table(
        *("ENDPOINT", "STATE", "SINCE", "NEXT PROBE", "CALLS", "FAILED", "MS", "REASON"), rows=rows
    )
    documents: list[Any] = [dict(BreakerSerializer(one).data) for one in found]
    return Answer(documents, shown)
