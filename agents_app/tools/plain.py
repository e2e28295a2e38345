"""Tools of a step that need nothing but their arguments and the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import Q
from pydantic import JsonValue

from agents_app.clients.patience import pause
from agents_app.tools.base import ToolContext, ToolFailed, tool
from errors_app.taxonomy import ErrorClass
from executions_app import clock
from executions_app.models import Step
from executions_app.states import StepStatus

LONGEST_WAIT_SECONDS: Final = 60


@tool(
    "wait",
    description="Waits, at most a minute, before the steps that depend on it.",
    schema={
        "type": "object",
        "properties": {
            "seconds": {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS}
        },
        "required": ["seconds"],
        "additionalProperties": False,
    },
    keywords=frozenset({"wait", "pause", "delay", "later", "settle"}),
    timeout_seconds=LONGEST_WAIT_SECONDS + 5.0,
)
def wait(arguments: Mapping[str, Any], context: ToolContext) -> JsonValue:
    """Return after so many seconds; whoever is to stop does so within one."""
    began = time.monotonic()
    pause(arguments["seconds"], context.check)
    return {"waited_seconds": round(time.monotonic() - began, 3)}


@tool(
    "now",
    description="The present instant, in UTC and on the clocks of a time zone (IANA name).",
    schema={
        "type": "object",
        "properties": {"zone": {"type": "string", "maxLength": 100}},
        "additionalProperties": False,
    },
    keywords=frozenset({"time", "date", "today", "now", "clock", "zone", "weekday"}),
    timeout_seconds=10.0,
)
def now(arguments: Mapping[str, Any], _: ToolContext) -> JsonValue:
    """The instant by the one clock; raises ToolFailed for a zone that does not exist."""
    zone = arguments.get("zone", "UTC")
    try:
        local = clock.now().astimezone(ZoneInfo(zone))
    except (ValueError, OSError, LookupError):
        raise ToolFailed(
            f"There is no time zone {zone!r}", error_class=ErrorClass.PERMANENT, may_repeat=True
        ) from None
    return {
        "utc": _iso(local.astimezone(UTC)),
        "local": local.isoformat(timespec="seconds"),
        "zone": zone,
        "weekday": local.strftime("%A"),
    }


def _iso(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


@tool(
    "json_extract",
    description=(
        "Takes one part out of JSON by a JSON Pointer (RFC 6901), such as /items/0/id. Give the "
        "JSON as value, or as step the name of an earlier step whose result is meant."
    ),
    schema={
        "type": "object",
        "properties": {
            "pointer": {"type": "string", "maxLength": 1000},
            "value": {},
            "step": {"type": "string", "maxLength": 200},
        },
        "required": ["pointer"],
        "oneOf": [{"required": ["value"]}, {"required": ["step"]}],
        "additionalProperties": False,
    },
    keywords=frozenset({"json", "extract", "field", "pointer", "parse"}),
    timeout_seconds=10.0,
)
def json_extract(arguments: Mapping[str, Any], context: ToolContext) -> JsonValue:
    """The part that the pointer names; raises ToolFailed (malformed) if there is none."""
    value = arguments["value"] if "value" in arguments else _result(arguments["step"], context)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _nothing("the text is no JSON") from None
    return _at(value, arguments["pointer"])


def _result(step: str, context: ToolContext) -> JsonValue:
    """Of a step of the same execution that has ended well, and of no other's."""
    done = Step.objects.filter(execution_id=context.execution_id, status=StepStatus.COMPLETED)
    named = done.filter(Q(name=step) | Q(config__id=step))
    found = named.order_by("position").first()
    if found is None:
        raise _nothing(f"no step {step!r} of this execution has completed")
    result: JsonValue = found.result
    return result


def _at(value: JsonValue, pointer: str) -> JsonValue:
    if pointer and not pointer.startswith("/"):
        raise _nothing(f"{pointer!r} is no JSON Pointer; it begins with a slash")
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and _is_index(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            raise _nothing(f"there is nothing at {key!r} of {pointer!r}")
    return value


def _is_index(key: str) -> bool:
    return len(key) <= 9 and key.isascii() and key.isdecimal() and (key == "0" or key[0] != "0")


def _nothing(reason: str) -> ToolFailed:
    return ToolFailed(
        f"Nothing was extracted: {reason}", error_class=ErrorClass.MALFORMED, may_repeat=True
    )
