"""`manage.py alerts`: what is wrong around executions, what is looked for, and who is told."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from errors_app.alerting import channels, raising, rules, testing
from errors_app.alerting.definitions import Invalid
from errors_app.api.alert_serializers import (
    AlertChannelSerializer,
    AlertDeliverySerializer,
    AlertRuleSerializer,
    AlertSerializer,
)
from errors_app.models_alerts import Alert, AlertChannel, AlertRule, NoticeStatus
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
    facts,
    moment_of,
    row_count,
    table,
)
from executions_app.wording import moment

LOOK = "`manage.py alerts list`, `rules` and `channels` show what there is"


class Command(DoorCommand):
    help = "Alerts: what is firing, the rules, the channels; mute, and test a channel."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="what is firing, the newest first")
        listing.add_argument("--all", action="store_true", help="also what is over")
        listing.add_argument("--limit", type=row_count, default=100)
        verbs.add("rules", self.rules, help_text="what is looked for")
        verbs.add("channels", self.channels, help_text="who is told")
        adding = verbs.add("add-channel", self.add_channel, help_text="tell somebody else, too")
        adding.add_argument("name", metavar="NAME")
        adding.add_argument("url", metavar="URL", help="as Apprise takes it, or: log")
        adding.add_argument("--min-severity", default="low", metavar="SEVERITY")
        add_acting_user(adding)
        testing_one = verbs.add("test", self.test, help_text="send a test to a channel now")
        testing_one.add_argument("channel", metavar="NAME|ID")
        add_acting_user(testing_one)
        muting = verbs.add("mute", self.mute, help_text="tell nobody about an alert or a rule")
        muting.add_argument("what", metavar="ALERT_ID|RULE_ID|RULE_NAME")
        until = muting.add_mutually_exclusive_group(required=True)
        until.add_argument("--until", metavar="INSTANT", help="such as 2026-12-01T09:00:00Z")
        until.add_argument("--minutes", type=int, metavar="N")
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
                return CommandProblem(str(error), LOOK, Exit.NOT_FOUND)
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

    def rules(self, _options: Options) -> Answer:
        found, now = list(AlertRule.objects.order_by("name")), clock.now()
        rows = (
            (
                one.name,
                one.kind,
                one.severity,
                "yes" if one.enabled else "no",
                moment(one.muted_until, now=now),
                one.problem,
            )
            for one in found
        )
        shown = table("NAME", "KIND", "SEVERITY", "ENABLED", "MUTED UNTIL", "PROBLEM", rows=rows)
        return Answer(AlertRuleSerializer(found, many=True).data, shown)

    def channels(self, _options: Options) -> Answer:
        found = list(AlertChannel.objects.order_by("name"))
        rows = (
            (one.name, one.kind, one.min_severity, "yes" if one.enabled else "no") for one in found
        )
        shown = table("NAME", "KIND", "FROM SEVERITY", "ENABLED", rows=rows)
        return Answer(AlertChannelSerializer(found, many=True).data, shown)

    def add_channel(self, options: Options) -> Answer:
        words = {name: options[name] for name in ("name", "url", "min_severity")}
        made = channels.create(words, actor=actor(options))
        shown = {"channel": made.name, "kind": made.kind, "from severity": made.min_severity}
        return Answer(dict(AlertChannelSerializer(made).data), facts(shown))

    def test(self, options: Options) -> Answer:
        delivery = testing.send_test(_channel(options["channel"]), actor=actor(options))
        document = dict(AlertDeliverySerializer(delivery).data)
        if delivery.status == NoticeStatus.SENT:
            return Answer(document, f"The test to {delivery.channel_name!r} was sent")
        return Answer(
            document,
            f"The test to {delivery.channel_name!r} was not sent: {delivery.error}",
            Exit.FAILED,
        )

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


def _channel(reference: str) -> AlertChannel:
    as_id = as_uuid(reference)
    named = {"name": reference} if as_id is None else {"id": as_id}
    found = AlertChannel.objects.filter(**named).first()
    if found is None:
        raise CommandProblem(f"There is no channel {reference!r}", LOOK, Exit.NOT_FOUND)
    return found


def _alert_or_rule(reference: str) -> Alert | AlertRule:
    as_id = as_uuid(reference)
    found: Alert | AlertRule | None
    if as_id is None:
        found = AlertRule.objects.filter(name=reference).first()
    else:
        found = Alert.objects.filter(id=as_id).first()
        found = found or AlertRule.objects.filter(id=as_id).first()
    if found is None:
        raise CommandProblem(f"There is no alert and no rule {reference!r}", LOOK, Exit.NOT_FOUND)
    return found
