"""The words of a schedule as options of `manage.py schedule create`, or as a JSON file."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import Options
from executions_app.states import Priority
from scheduler_app.commands import invalid
from scheduler_app.definition import Problem
from scheduler_app.policies import CatchupPolicy, OverlapPolicy, TriggerType

SAME_NAME: Final = {
    "name": "name",
    "task_type": "task_type",
    "timezone": "timezone",
    "priority": "priority",
    "timeout_ms": "timeout_ms",
    "overlap": "overlap_policy",
    "catchup": "catchup_policy",
    "catchup_limit": "catchup_limit",
}
"""Option -> field of the definition."""
RULES: Final = {
    "cron": ("cron", "cron"),
    "every": ("interval", "every"),
    "interval_ms": ("interval", "interval_ms"),
    "at": ("one_time", "run_at"),
}
"""Option -> schedule type and key of its config."""


def add_options(parser: ArgumentParser) -> None:
    """Every word of a schedule; those of the command line win over those of `--file`."""
    parser.add_argument("--file", metavar="PATH|-", help="a JSON object with the fields of REST")
    parser.add_argument("--name")
    parser.add_argument("--task-type")
    parser.add_argument("--task-config", metavar="JSON", help="an object that fits the task type")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--cron", metavar="EXPR", help="such as '0 9 * * *'")
    when.add_argument("--every", metavar="TEXT", help="such as '30 minutes'")
    when.add_argument("--interval-ms", type=int, metavar="N")
    when.add_argument("--at", metavar="ISO", help="once, such as 2026-12-01T09:00:00Z")
    when.add_argument("--manual", action="store_true", help="only when somebody triggers it")
    parser.add_argument("--timezone", metavar="ZONE", help="IANA zone (default: UTC)")
    parser.add_argument("--priority", help=" | ".join(Priority))
    parser.add_argument("--disabled", action="store_true", help="store it without any fires")
    parser.add_argument("--timeout-ms", type=int, metavar="N")
    parser.add_argument("--max-retries", type=int, metavar="N")
    parser.add_argument("--overlap", metavar="POLICY", help=" | ".join(OverlapPolicy))
    parser.add_argument("--catchup", metavar="POLICY", help=" | ".join(CatchupPolicy))
    parser.add_argument("--catchup-limit", type=int, metavar="N")


def read(options: Options) -> dict[str, Any]:
    """The words that were given, for `definition.parse`; raises CommandProblem."""
    words = _from_file(options["file"]) if options["file"] else {}
    words.update(_from_options(options))
    return words


def json_object(text: str, *, field: str) -> dict[str, Any]:
    """A JSON object; raises CommandProblem naming `field`."""
    try:
        read_value = json.loads(text)
    except ValueError as error:
        raise invalid([Problem((field,), "invalid", f"is no JSON: {error}")]) from None
    if not isinstance(read_value, dict):
        raise invalid([Problem((field,), "invalid", "must be a JSON object, in braces")])
    return read_value


def _from_options(options: Options) -> Iterator[tuple[str, Any]]:
    for option, field in SAME_NAME.items():
        if options[option] is not None:
            yield field, options[option]
    for option, (schedule_type, key) in RULES.items():
        if options[option] is not None:
            yield "schedule_type", schedule_type
            yield "schedule_config", {key: options[option]}
    if options["manual"]:
        yield "trigger_type", TriggerType.MANUAL
    if options["disabled"]:
        yield "enabled", False
    if options["task_config"] is not None:
        yield "task_config", json_object(options["task_config"], field="task_config")
    if options["max_retries"] is not None:
        yield "retry_policy", {"max_retries": options["max_retries"]}


def _from_file(path: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        todo = "Name a file with one JSON object, or - for standard input"
        raise CommandProblem(f"file: {error}", todo, Exit.USAGE) from None
    return json_object(text, field="file")
