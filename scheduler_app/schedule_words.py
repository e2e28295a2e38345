"""The words of a schedule as options of `manage.py schedule create`, or as a JSON file."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import Options
from executions_app.states import Priority
from executions_app.wording import duration
from scheduler_app.commands import invalid
from scheduler_app.definition import Problem
from scheduler_app.models_limits import UniqueMode
from scheduler_app.policies import CatchupPolicy, OutsideWindow, OverlapPolicy, TriggerType

SAME_NAME: Final = {
    "name": "name",
    "task_type": "task_type",
    "timezone": "timezone",
    "priority": "priority",
    "timeout_ms": "timeout_ms",
    "overlap": "overlap_policy",
    "catchup": "catchup_policy",
    "catchup_limit": "catchup_limit",
    "catchup_window_ms": "catchup_window_ms",
    "start_at": "start_at",
    "end_at": "end_at",
    "max_runs": "max_runs",
    "calendar": "calendar",
    "outside": "outside_window",
    "jitter_ms": "jitter_ms",
    "spread_ms": "spread_ms",
    "buffer_limit": "buffer_limit",
    "run_ttl_ms": "run_ttl_ms",
    "pause_after_failures": "pause_after_failures",
    "max_concurrent": "max_concurrent",
    "limit_key": "limit_key",
    "unique_key": "unique_key",
    "unique_mode": "unique_mode",
    "unique_for_ms": "unique_for_ms",
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
    parser.add_argument("--catchup-window-ms", type=int, metavar="N", help="older ones are dropped")
    _add_when_not(parser)
    _add_how_much(parser)


def _add_when_not(parser: ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--after", action="append", metavar="NAME|ID", help="an upstream schedule")
    source.add_argument("--webhook", action="store_true", help="when a signed request comes in")
    source.add_argument("--event", metavar="TYPE", help="such as execution:failed")
    parser.add_argument("--on", help="with --after: success | failure | end")
    parser.add_argument("--mode", help="with --after: any | all")
    parser.add_argument("--event-filter", metavar="JSON", help="with --webhook or --event")
    parser.add_argument("--start-at", metavar="ISO", help="no fire before")
    parser.add_argument("--end-at", metavar="ISO", help="no fire after")
    parser.add_argument("--max-runs", type=int, metavar="N", help="then it is finished")
    parser.add_argument("--hours", action="append", metavar="09:00-17:00", help="of its window")
    parser.add_argument("--weekdays", metavar="mon,tue", help="of its window")
    parser.add_argument("--calendar", metavar="NAME|ID", help="a business calendar")
    parser.add_argument("--outside", metavar="POLICY", help=" | ".join(OutsideWindow))
    parser.add_argument("--jitter-ms", type=int, metavar="N")
    parser.add_argument("--spread-ms", type=int, metavar="N")


def _add_how_much(parser: ArgumentParser) -> None:
    for name in (
        "--buffer-limit", "--run-ttl-ms", "--pause-after-failures", "--max-concurrent",
        "--unique-for-ms",
    ):  # fmt: skip
        parser.add_argument(name, type=int, metavar="N")
    parser.add_argument("--limit-key", metavar="TEMPLATE", help="such as tenant:{tenant}")
    parser.add_argument("--unique-key", metavar="TEMPLATE", help="such as order:{order_id}")
    parser.add_argument("--unique-mode", metavar="MODE", help=" | ".join(UniqueMode))


def read(options: Options) -> dict[str, Any]:
    """The words that were given, for `definition.parse`; raises CommandProblem."""
    words = from_file(options["file"]) if options["file"] else {}
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
    yield from _trigger(options)
    window = {"hours": options["hours"], "weekdays": listed(options["weekdays"])}
    if any(window.values()):
        yield "execution_window", {name: words for name, words in window.items() if words}
    if options["disabled"]:
        yield "enabled", False
    if options["task_config"] is not None:
        yield "task_config", json_object(options["task_config"], field="task_config")
    if options["max_retries"] is not None:
        yield "retry_policy", {"max_retries": options["max_retries"]}


def _trigger(options: Options) -> Iterator[tuple[str, Any]]:
    """What starts a schedule that time does not start."""
    given = {"on": options["on"], "mode": options["mode"]}
    if options["event_filter"] is not None:
        given["filter"] = json_object(options["event_filter"], field="event_filter")
    if options["after"]:
        yield "trigger_type", TriggerType.DEPENDENT
        given["upstreams"] = options["after"]
    elif options["webhook"] or options["event"]:
        yield "trigger_type", TriggerType.EVENT_DRIVEN
        given["source"] = "webhook" if options["webhook"] else "internal"
        given["event"] = options["event"]
    config = {name: value for name, value in given.items() if value is not None}
    if config:
        yield "trigger_config", config


def counted(stats: Mapping[str, Any]) -> str:
    """The statistics of a schedule for people, on one line."""
    said = [f"{stats['runs']} ended", f"{stats['failures']} of them failed"]
    if stats["cancellations"]:
        said.append(f"{stats['cancellations']} cancelled")
    if stats["mean_duration_ms"] is not None:
        said.append(f"{duration(timedelta(milliseconds=stats['mean_duration_ms']))} on average")
    if stats["last_status"]:
        said.append(f"the last one {stats['last_status']}")
    if stats["consecutive_failures"]:
        said.append(f"{stats['consecutive_failures']} failures in a row")
    return ", ".join(said)


def listed(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def from_file(path: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        todo = "Name a file with one JSON object, or - for standard input"
        raise CommandProblem(f"file: {error}", todo, Exit.USAGE) from None
    return json_object(text, field="file")
