"""`manage.py breakers`: endpoints that executions call; let calls go out again by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from rich.console import Group

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
    facts,
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
        listing.add_argument("--limit", type=row_count, default=200, help="at most so many")
        showing = verbs.add(
            "show", self.show, help_text="one endpoint, with its last changes of state"
        )
        showing.add_argument(
            "breaker", metavar="ENDPOINT|ID", help="such as https://example.com:443"
        )
        resetting = verbs.add(
            "reset", self.reset, help_text="close it and forget what it counted: calls go out again"
        )
        resetting.add_argument("breakers", metavar="ENDPOINT|ID", nargs="+", help="which ones")
        resetting.add_argument("--note", default="", help="why, for the audit log")
        add_acting_user(resetting)

    def list_all(self, options: Options) -> Answer:
        limit = options["limit"]
        rows = list(Breaker.objects.exclude(state=BreakerStatus.CLOSED).order_by("-id")[:limit])
        closed = Breaker.objects.filter(state=BreakerStatus.CLOSED).order_by("-id")
        rows += closed[: limit - len(rows)]
        return _answer(figures.of(rows))

    def show(self, options: Options) -> Answer:
        (found,) = figures.of([breaker_named(options["breaker"])])
        now = clock.now()
        shown: dict[str, object] = {
            "endpoint": found.key,
            "id": found.id,
            "state": _state(found),
            "since": moment(found.since, now=now),
            "next probe": moment(found.next_probe_at, now=now),
            "reason": found.reason,
            "calls": _calls(found),
            "mean latency": None if found.latency_ms is None else f"{found.latency_ms} ms",
            "opened": f"{found.opened_count} times",
            "last called": f"{moment(found.seen_at, now=now)}, to the hour",
        }
        rows = (
            (moment(one.at, now=now), one.from_state, one.to_state, one.calls, one.failures,
             one.worker, one.reason)
            for one in found.transitions
        )  # fmt: skip
        changes = table("AT", "FROM", "TO", "CALLS", "FAILED", "TOLD BY", "REASON", rows=rows)
        parts = (facts(shown), "", changes) if found.transitions else (facts(shown),)
        return Answer(dict(BreakerSerializer(found).data), Group(*parts))

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


def _state(found: Health) -> str:
    return found.state if found.is_live else f"{found.state} (Redis is away)"


def _calls(found: Health) -> str:
    """Those of the window, in words."""
    if found.calls is None:
        return "unknown: Redis is away"
    rate = "" if found.success_rate is None else f" ({found.success_rate:.1%} went well)"
    return f"{found.calls} lately, {found.failures} of them failed{rate}"


def _answer(found: list[Health]) -> Answer:
    now = clock.now()
    rows = (
        (
            one.key,
            _state(one),
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
