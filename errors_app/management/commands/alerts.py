"""`manage.py alerts`: what is wrong around executions, what is looked for, and who is told."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any, Final

from errors_app import channel_verbs, rule_verbs
from errors_app.alerting import raising, rules
from errors_app.alerting.definitions import Invalid
from errors_app.api.alert_serializers import AlertRuleSerializer, AlertSerializer
from errors_app.commands import LOOK_AT_ALERTS
from errors_app.models_alerts import Alert, AlertRule
from executions_app import clock, encryption
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
    moment_of,
    row_count,
    table,
)
from executions_app.wording import moment

MOST_MINUTES: Final = 366 * 24 * 60


class Command(DoorCommand):
    help = "Alerts: what is firing, what is looked for (rules), and who is told (channels)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="what is firing, the newest first")
        listing.add_argument("--all", action="store_true", help="also what is over")
        listing.add_argument("--limit", type=row_count, default=100, help="at most so many")
        rule_verbs.add_to(verbs, confirm=self.confirm)
        channel_verbs.add_to(verbs, confirm=self.confirm)
        muting = verbs.add("mute", self.mute, help_text="tell nobody about an alert or a rule")
        muting.add_argument(
            "what", metavar="ALERT_ID|RULE_ID|RULE_NAME", help="which alert, or which rule"
        )
        until = muting.add_mutually_exclusive_group(required=True)
        until.add_argument(
            "--until", metavar="INSTANT", help="until then, such as 2026-12-01T09:00:00Z"
        )
        until.add_argument("--minutes", type=minutes, metavar="N", help="for so long")
        until.add_argument("--off", action="store_true", help="mute no longer")
        add_acting_user(muting)

    def problem_of(self, error: BaseException) -> CommandProblem | None:
        match error:
            case Invalid():
                fields = {".".join(one.path): one.message for one in error.problems}
                todo = "Nothing was stored; correct it and repeat"
                return CommandProblem(str(error), todo, Exit.USAGE, fields=fields)
            case encryption.NoKeys():
                return CommandProblem(str(error), "Set it and repeat", Exit.REFUSED)
            case rules.Unknown():
                return CommandProblem(str(error), LOOK_AT_ALERTS, Exit.NOT_FOUND)
        return super().problem_of(error)

    def list_all(self, options: Options) -> Answer:
        chosen = Alert.objects.order_by("-id")
        if not options["all"]:
            chosen = chosen.filter(status="firing")
        found, now = list(chosen[: options["limit"]]), clock.now()
        rows = (
            (one.id, one.status, one.severity, moment(one.first_seen_at, now=now), one.message)
            for one in found
        )
        shown = table("ID", "STATUS", "SEVERITY", "SINCE", "MESSAGE", rows=rows)
        text = shown if found else "Nothing is firing"
        return Answer(AlertSerializer(found, many=True).data, text)

    def mute(self, options: Options) -> Answer:
        until = None
        if options["minutes"] is not None:
            until = clock.now() + timedelta(minutes=options["minutes"])
        elif options["until"]:
            until = moment_of(options["until"], field="until")
        found, who = _alert_or_rule(options["what"]), actor(options)
        document: dict[str, Any]
        if isinstance(found, Alert):
            muted = raising.mute(found.id, until=until, actor=who)
            document, name = dict(AlertSerializer(muted).data), f"Alert {found.id}"
        else:
            rule = rules.mute(found.id, until=until, actor=who)
            document, name = dict(AlertRuleSerializer(rule).data), f"Rule {found.name!r}"
        ended = "is not muted" if until is None else f"is muted until {until:%Y-%m-%dT%H:%M:%SZ}"
        return Answer(document, f"{name} {ended}")


def minutes(text: str) -> int:
    """The value of `--minutes`, up to a year."""
    if not text.isdecimal() or not 1 <= int(text[:10]) <= MOST_MINUTES:
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_MINUTES}")
    return int(text)


def _alert_or_rule(reference: str) -> Alert | AlertRule:
    as_id = as_uuid(reference)
    found: Alert | AlertRule | None
    if as_id is None:
        found = AlertRule.objects.filter(name=reference).first()
    else:
        found = Alert.objects.filter(id=as_id).first()
        found = found or AlertRule.objects.filter(id=as_id).first()
    if found is None:
        raise CommandProblem(
            f"There is no alert and no rule {reference!r}", LOOK_AT_ALERTS, Exit.NOT_FOUND
        )
    return found
