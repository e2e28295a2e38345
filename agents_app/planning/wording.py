"""How values stand in a prompt: the same text for the same value, one line each. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agents_app.planning import fencing

TEMPLATES: Final = Path(__file__).parent / "templates"


def as_json(value: Any) -> str:
    """JSON on one line, keys in order."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def facts(value: Any) -> dict[str, Any]:
    """What is known of it; fields that say nothing are left out."""
    if dataclasses.is_dataclass(value):
        known = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    else:
        known = dict(value)
    return {name: _said(one) for name, one in known.items() if one not in ("", None, {}, [], ())}


def lines(values: Iterable[Any]) -> str:
    """One line for each: a text as it is, anything else as JSON."""
    return "\n".join(
        as_json(one) if isinstance(one, str) else as_json(facts(one)) for one in values
    )


def instant(value: datetime) -> str:
    """An instant in UTC to the second, ending in Z."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def local(value: datetime, timezone: str) -> str:
    """What the calendar and the clock on the wall show there."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return f"{value.astimezone(zone):%A, %Y-%m-%d %H:%M}"


def _said(value: Any) -> Any:
    match value:
        case datetime():
            return instant(value)
        case Mapping():
            return dict(value)
    return value


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "json": as_json,
    "facts": facts,
    "lines": lines,
    "instant": instant,
    "local": local,
    "plain": fencing.plain,
    "fenced": fencing.fenced,
}
