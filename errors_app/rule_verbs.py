"""`manage.py alerts rules|add-rule|...`: what is looked for in executions, made at a terminal."""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import cleandoc
from typing import Any, Final
from uuid import UUID

from django.contrib.auth import get_user_model

from errors_app.alerting import kinds, rules
from errors_app.alerting.definitions import Invalid
from errors_app.api.alert_serializers import AlertRuleSerializer
from errors_app.commands import rule_named
from errors_app.models_alerts import AlertKind, AlertRule
from errors_app.taxonomy import Severity
from executions_app import clock, strict_json
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    actor,
    add_acting_user,
    as_uuid,
    facts,
    one_line,
    table,
    user_named,
)
from executions_app.wording import moment

Confirm = Callable[[str, Options], None]
MOST_DEPTH: Final = 4
EVERYTHING: Final = "everything"
SAME_NAME: Final = ("name", "kind", "severity")
WAYS_BACK: Final[Mapping[str, str]] = {
    "schedule": "no longer one schedule only",
    "owner": "no longer of one account only",
    "channel": "tell every channel",
}


def add_to(verbs: Verbs, *, confirm: Confirm) -> None:
    """Add the verbs to those of `manage.py alerts`."""
    verbs.add("rules", list_all, help_text="what is looked for")
    adding = verbs.add("add-rule", add, help_text="look for something more")
    adding.add_argument(
        "kind", metavar="KIND", choices=[str(one) for one in AlertKind], help="one of those below"
    )
    adding.add_argument("name", metavar="NAME", help="as notices call it")
    adding.add_argument("--disabled", action="store_true", help="store it, look for it later")
    changing = verbs.add("change-rule", change, help_text="look otherwise; the rest stays as it is")
    changing.add_argument("rule", metavar="NAME|ID", help="which rule")
    changing.add_argument("--name", metavar="NAME", help="its new name")
    changing.add_argument(
        "--kind",
        choices=[str(one) for one in AlertKind],
        metavar="KIND",
        help="look for something else, one of those below, with its defaults",
    )
    _add_words(adding, scope=dict.fromkeys(WAYS_BACK, adding))
    _add_words(changing, scope=_with_ways_back(changing))
    for name, run, help_text in (
        ("enable-rule", partial(_switch, {"enabled": True}), "look for it again"),
        ("disable-rule", partial(_switch, {"enabled": False}), "look for it no more; it stays"),
        ("remove-rule", partial(remove, confirm), "look for it no more; its open alerts end"),
    ):
        one = verbs.add(name, run, help_text=help_text)
        one.add_argument("rule", metavar="NAME|ID", help="which rule")
        add_acting_user(one)


def _with_ways_back(parser: ArgumentParser) -> Mapping[str, Any]:
    """Where the options of a scope go: beside those that take them back."""
    groups = {}
    for name, help_text in WAYS_BACK.items():
        groups[name] = parser.add_mutually_exclusive_group()
        groups[name].add_argument(f"--every-{name}", action="store_true", help=help_text)
    return groups


def _add_words(parser: ArgumentParser, *, scope: Mapping[str, Any]) -> None:
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the kind is told, see below; may be given several times",
    )
    scope["schedule"].add_argument("--schedule", metavar="NAME|ID", help="only this schedule")
    scope["owner"].add_argument("--owner", metavar="NAME", help="only what this account owns")
    scope["channel"].add_argument(
        "--channel",
        action="append",
        metavar="NAME",
        help="tell this channel only (several times: these only); else every channel is told",
    )
    parser.add_argument(
        "--severity",
        choices=[str(one) for one in Severity],
        help="how grave it is (at first: medium)",
    )
    add_acting_user(parser)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = _kinds()


def _kinds() -> str:
    """What there is to look for, and the parameters of each as they are when not given."""
    lines = ["kinds, and their parameters as they are when not given (times in milliseconds):"]
    for kind in AlertKind:
        finds, _, _ = cleandoc(kinds.PARAMETERS[kind].__doc__ or "").partition("\n\n")
        usual = kinds.parameters(kind, {}).model_dump(mode="json")
        told = " ".join(f"{name}={_typed(value)}" for name, value in usual.items())
        lines += [f"  {kind}", f"      {finds.replace('`', '')}", f"      {told}"]
    return "\n".join(lines)


def list_all(_options: Options) -> Answer:
    found, now = list(AlertRule.objects.order_by("name")), clock.now()
    rows = (
        (
            one.name,
            one.kind,
            one.severity,
            "yes" if one.enabled else "no",
            scope,
            ", ".join(one.channels) or "every channel",
            _said(one.parameters),
            moment(one.muted_until, now=now),
            one.problem,
        )
        for one, scope in zip(found, _scopes(found), strict=True)
    )
    columns = ("NAME", "KIND", "SEVERITY", "ENABLED", "FOR", "TELLS", "PARAMETERS")
    shown = table(*columns, "MUTED UNTIL", "PROBLEM", rows=rows)
    return Answer(AlertRuleSerializer(found, many=True).data, shown)


def add(options: Options) -> Answer:
    words = {**_words(options), "enabled": not options["disabled"]}
    words["parameters"] = _parameters(options["parameter"])
    return _shown(rules.create(words, actor=actor(options)))


def change(options: Options) -> Answer:
    rule, words = rule_named(options["rule"]), _words(options)
    if options["every_schedule"]:
        words["schedule_id"] = None
    if options["every_owner"]:
        words["owner_id"] = None
    if options["every_channel"]:
        words["channels"] = []
    parameters = _parameters(options["parameter"])
    if not words and not parameters:
        todo = "Give what is to change, such as --severity high"
        raise CommandProblem("Nothing was to be changed", todo, Exit.USAGE)
    return _shown(rules.change(rule.id, words, actor=actor(options), parameters=parameters))


def remove(confirm: Confirm, options: Options) -> Answer:
    rule = rule_named(options["rule"])
    confirm(f"Removing rule {rule.name!r}", options)
    rules.remove(rule.id, actor=actor(options))
    return Answer({"removed": rule.id}, f"Rule {one_line(rule.name)} is removed")


def _switch(words: Mapping[str, Any], options: Options) -> Answer:
    rule = rule_named(options["rule"])
    return _shown(rules.change(rule.id, words, actor=actor(options)))


def _words(options: Options) -> dict[str, Any]:
    """What was given, as REST takes it."""
    words = {name: options[name] for name in SAME_NAME if options.get(name) is not None}
    if options["schedule"] is not None:
        words["schedule_id"] = str(_schedule(options["schedule"]))
    if options["owner"] is not None:
        words["owner_id"] = user_named(options["owner"]).pk
    if options["channel"] is not None:
        words["channels"] = options["channel"]
    return words


def _schedule(reference: str) -> UUID:
    """The schedule of an id, or of a name that only one has; raises CommandProblem."""
    as_id = as_uuid(reference)
    found = rules.schedules_named(reference) if as_id is None else [as_id]
    if not found:
        todo = "`manage.py schedule list` shows what there is"
        raise CommandProblem(f"There is no schedule {reference!r}", todo, Exit.NOT_FOUND)
    if len(found) > 1:
        what = f"Schedules of several owners are named {reference!r}"
        raise CommandProblem(what, "Give its id", Exit.USAGE)
    return found[0]


def _parameters(texts: Iterable[str]) -> dict[str, Any]:
    """`NAME=VALUE`, each value as JSON reads it, else as the text that it is."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise Invalid.field("parameters", f"{text!r} is no parameter; write NAME=VALUE")
        try:
            found[name] = strict_json.load(value, most_depth=MOST_DEPTH)
        except ValueError:
            found[name] = value
    return found


def _scopes(found: Sequence[AlertRule]) -> list[str]:
    """What each rule is about, in words."""
    names = rules.schedule_names([one.schedule_id for one in found if one.schedule_id])
    owners = dict(
        get_user_model()
        .objects.filter(pk__in=[one.owner_id for one in found if one.owner_id])
        .values_list("pk", "username")
    )
    return [_scope(one, names, owners) for one in found]


def _scope(rule: AlertRule, names: Mapping[UUID, str], owners: Mapping[int, str]) -> str:
    said = []
    if rule.schedule_id is not None:
        said.append(f"schedule {names.get(rule.schedule_id, rule.schedule_id)}")
    if rule.owner_id is not None:
        said.append(f"what {owners.get(rule.owner_id, rule.owner_id)} owns")
    return ", ".join(said) or EVERYTHING


def _said(parameters: Mapping[str, Any]) -> str:
    """The parameters as they are typed."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return " ".join(f"{name}={_typed(value)}" for name, value in given.items())


def _typed(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(rule: AlertRule) -> Answer:
    (scope,) = _scopes([rule])
    shown = {
        "rule": rule.name,
        "id": rule.id,
        "looks for": rule.kind,
        "parameters": _said(rule.parameters),
        "for": scope,
        "severity": rule.severity,
        "tells": ", ".join(rule.channels) or "every channel",
        "enabled": "yes" if rule.enabled else "no",
    }
    return Answer(dict(AlertRuleSerializer(rule).data), facts(shown))
