"""`manage.py alerts channels|add-channel|...`: who is told about executions, at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from errors_app.alerting import channels, testing
from errors_app.api.alert_serializers import AlertChannelSerializer, AlertDeliverySerializer
from errors_app.commands import channel_named
from errors_app.models_alerts import AlertChannel, NoticeStatus
from errors_app.taxonomy import Severity
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    actor,
    add_acting_user,
    facts,
    one_line,
    table,
)

Confirm = Callable[[str, Options], None]
URL: Final = "as Apprise takes it, or the word log; it is never shown again"
MIN_SEVERITY: Final = "tell it what is at least so grave"


def add_to(verbs: Verbs, *, confirm: Confirm) -> None:
    """Add the verbs to those of `manage.py alerts`."""
    severities = [str(one) for one in Severity]
    verbs.add("channels", list_all, help_text="who is told")
    adding = verbs.add("add-channel", add, help_text="tell somebody else, too")
    adding.add_argument("name", metavar="NAME", help="as rules call it")
    adding.add_argument("url", metavar="URL", help=URL)
    adding.add_argument(
        "--min-severity", choices=severities, default="low", help=f"{MIN_SEVERITY} (low)"
    )
    add_acting_user(adding)
    changing = verbs.add("change-channel", change, help_text="the rest stays as it is")
    changing.add_argument("channel", metavar="NAME|ID", help="which channel")
    changing.add_argument("--name", metavar="NAME", help="its new name; not while a rule names it")
    changing.add_argument("--url", metavar="URL", help=URL)
    changing.add_argument("--min-severity", choices=severities, help=MIN_SEVERITY)
    add_acting_user(changing)
    for name, run, help_text in (
        ("enable-channel", partial(_switch, {"enabled": True}), "tell it again"),
        ("disable-channel", partial(_switch, {"enabled": False}), "tell it nothing; it stays"),
        (
            "remove-channel",
            partial(remove, confirm),
            "tell it no more; not while a rule names it",
        ),
        ("test", test, "send a test to a channel now"),
    ):
        one = verbs.add(name, run, help_text=help_text)
        one.add_argument("channel", metavar="NAME|ID", help="which channel")
        add_acting_user(one)


def list_all(_options: Options) -> Answer:
    found = list(AlertChannel.objects.order_by("name"))
    rows = ((one.name, one.kind, one.min_severity, "yes" if one.enabled else "no") for one in found)
    shown = table("NAME", "KIND", "FROM SEVERITY", "ENABLED", rows=rows)
    return Answer(AlertChannelSerializer(found, many=True).data, shown)


def add(options: Options) -> Answer:
    words = {name: options[name] for name in ("name", "url", "min_severity")}
    return _shown(channels.create(words, actor=actor(options)))


def change(options: Options) -> Answer:
    channel = channel_named(options["channel"])
    given = {name: options[name] for name in ("name", "url", "min_severity")}
    words = {name: value for name, value in given.items() if value is not None}
    if not words:
        todo = "Give what is to change, such as --min-severity high"
        raise CommandProblem("Nothing was to be changed", todo, Exit.USAGE)
    return _shown(channels.change(channel.id, words, actor=actor(options)))


def remove(confirm: Confirm, options: Options) -> Answer:
    channel = channel_named(options["channel"])
    confirm(f"Removing channel {channel.name!r}", options)
    channels.remove(channel.id, actor=actor(options))
    return Answer({"removed": channel.id}, f"Channel {one_line(channel.name)} is removed")


def test(options: Options) -> Answer:
    delivery = testing.send_test(channel_named(options["channel"]), actor=actor(options))
    document = dict(AlertDeliverySerializer(delivery).data)
    if delivery.status == NoticeStatus.SENT:
        return Answer(document, f"The test to {delivery.channel_name!r} was sent")
    text = f"The test to {delivery.channel_name!r} was not sent: {delivery.error}"
    return Answer(document, text, Exit.FAILED)


def _switch(words: Mapping[str, Any], options: Options) -> Answer:
    channel = channel_named(options["channel"])
    return _shown(channels.change(channel.id, words, actor=actor(options)))


def _shown(channel: AlertChannel) -> Answer:
    shown = {
        "channel": channel.name,
        "id": channel.id,
        "kind": channel.kind,
        "from severity": channel.min_severity,
        "enabled": "yes" if channel.enabled else "no",
    }
    return Answer(dict(AlertChannelSerializer(channel).data), facts(shown))
