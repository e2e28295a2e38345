"""`manage.py limits`: how much may run at once, or start in a time, for everybody or one key."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta

from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    acting_user,
    actor,
    add_acting_user,
    add_common_options,
    facts,
    one_line,
    row_count,
    table,
)
from executions_app.wording import duration
from scheduler_app.api.limit_serializers import LimitSerializer
from scheduler_app.commands import ScheduleCommand
from scheduler_app.limiting import limits
from scheduler_app.models import Limit


class Command(ScheduleCommand):
    help = "Limits of concurrency and rate; they hold from the next dispatch on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="limits, by key")
        listing.add_argument("--limit", type=row_count, default=1000)
        setting = verbs.add("set", self.set_one, help_text="set or replace the limit of a key")
        setting.add_argument("key", metavar="KEY", help=limits.KEY_HELP)
        setting.add_argument("--max-concurrent", type=int, metavar="N", help="0: nothing starts")
        setting.add_argument("--rate-count", type=int, metavar="N", help="starts ...")
        setting.add_argument("--rate-period-ms", type=int, metavar="N", help="... in this time")
        setting.add_argument("--note", default="")
        add_acting_user(setting)
        removing = verbs.add("remove", self.remove, help_text="lift the limit of a key")
        removing.add_argument("key", metavar="KEY")
        add_acting_user(removing)

    def list_all(self, options: Options) -> Answer:
        found = list(Limit.objects.order_by("key")[: options["limit"]])
        rows = ((one.key, _at_once(one), _rate(one), one.note) for one in found)
        shown = table("KEY", "AT ONCE", "RATE", "NOTE", rows=rows)
        return Answer(LimitSerializer(found, many=True).data, shown)

    def set_one(self, options: Options) -> Answer:
        limits.check_admin(acting_user(options))
        words = {name: options[name] for name in limits.LimitDefinition.model_fields}
        limit, _ = limits.put(limits.parse(words), actor=actor(options))
        shown = {"key": limit.key, "at once": _at_once(limit), "rate": _rate(limit)}
        return Answer(dict(LimitSerializer(limit).data), facts(shown))

    def remove(self, options: Options) -> Answer:
        limits.check_admin(acting_user(options))
        limits.remove(options["key"], actor=actor(options))
        return Answer({"removed": options["key"]}, f"Limit {one_line(options['key'])} is lifted")


def _at_once(limit: Limit) -> str:
    return "any number" if limit.max_concurrent is None else str(limit.max_concurrent)


def _rate(limit: Limit) -> str:
    if limit.rate_count is None or limit.rate_period_ms is None:
        return "any"
    return f"{limit.rate_count} in {duration(timedelta(milliseconds=limit.rate_period_ms))}"
