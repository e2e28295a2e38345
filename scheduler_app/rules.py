"""A schedule's stored settings, read once and checked, before `next_run` computes with them.

`parse_rule` is the one reader of `schedule_config`; what it refuses is never stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from scheduler_app.cron import CronRule, InvalidTriggerConfigError, parse_cron

SHORTEST_INTERVAL: Final = timedelta(seconds=1)
"""The dispatcher looks for due schedules about once a second; less could not be kept."""
LONGEST_INTERVAL: Final = timedelta(days=3650)
# Files beside the zones: the machine's own zone, and a placeholder for an unset one.
_NOT_ZONES: Final = frozenset({"localtime", "posixrules", "Factory"})
_EVERY: Final = re.compile(r"(?:every\s+)?(?:([0-9]{1,12})\s*)?(second|minute|hour|day|week)s?")


@dataclass(frozen=True, slots=True)
class IntervalRule:
    """Fires at anchor_at + k x interval for k = 1, 2, ..., in elapsed time. The anchor is UTC."""

    anchor_at: datetime
    interval: timedelta


@dataclass(frozen=True, slots=True)
class OneTimeRule:
    """Fires once, at an instant in UTC."""

    run_at: datetime


Rule = CronRule | IntervalRule | OneTimeRule


def parse_rule(
    schedule_type: str, schedule_config: Mapping[str, object], *, anchor_at: datetime | None
) -> Rule:
    """The rule of a time-based schedule.

    `schedule_config` is one of `{"cron": "0 9 * * *"}`, `{"interval_ms": 60000}`,
    `{"every": "30 minutes"}`, `{"run_at": "2026-12-01T09:00:00Z"}`. An interval needs
    `anchor_at`, the aware instant its grid starts from.

    Raises InvalidTriggerConfigError naming the setting that is wrong.
    """
    if not isinstance(schedule_config, Mapping):
        raise InvalidTriggerConfigError(
            field="schedule_config",
            reason='not an object; write one such as {"cron": "0 9 * * *"}',
        )
    if schedule_type == "interval":
        return IntervalRule(anchor_at=_anchor(anchor_at), interval=parse_interval(schedule_config))
    if schedule_type == "cron":
        return parse_cron(_text(_only(schedule_config, "cron"), "cron"))
    if schedule_type == "one_time":
        return OneTimeRule(run_at=_instant(_text(_only(schedule_config, "run_at"), "run_at")))
    raise InvalidTriggerConfigError(
        field="schedule_type", reason=f"{schedule_type!r} is none of cron, interval, one_time"
    )


def parse_interval(schedule_config: Mapping[str, object]) -> timedelta:
    """The interval of `{"interval_ms": n}` or `{"every": "30 minutes"}`, 1 second to 10 years.

    Raises InvalidTriggerConfigError.
    """
    key = "every" if "every" in schedule_config else "interval_ms"
    read = _READERS[key]
    try:
        interval = read(_only(schedule_config, key))
    except OverflowError:
        interval = timedelta.max
    if not SHORTEST_INTERVAL <= interval <= LONGEST_INTERVAL:
        raise InvalidTriggerConfigError(
            field=key,
            reason=f"{schedule_config[key]!r} is not between 1 second (1000 ms) and "
            f"{LONGEST_INTERVAL.days} days; runs closer than a second apart are not promised",
        )
    return interval


def zone(name: str) -> ZoneInfo:
    """The IANA zone of that exact name, such as `Europe/Berlin`.

    Raises InvalidTriggerConfigError (field `timezone`).
    """
    if name not in _zone_names():
        raise InvalidTriggerConfigError(
            field="timezone",
            reason=f"{name!r} is not an IANA zone; write one such as Europe/Berlin or UTC",
        )
    return ZoneInfo(name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones()) - _NOT_ZONES


def _only(schedule_config: Mapping[str, object], key: str) -> object:
    """The value of the one key allowed."""
    unknown = sorted(str(other) for other in schedule_config if other != key)
    if unknown:
        raise InvalidTriggerConfigError(
            field=unknown[0], reason=f"not known here; this schedule takes only {key!r}"
        )
    if key not in schedule_config:
        raise InvalidTriggerConfigError(field=key, reason="required, but missing")
    return schedule_config[key]


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise InvalidTriggerConfigError(field=key, reason=f"{value!r} is not a string")
    return value


def _milliseconds(value: object) -> timedelta:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidTriggerConfigError(
            field="interval_ms", reason=f"{value!r} is not a whole number of milliseconds"
        )
    return timedelta(milliseconds=value)


def _plain_words(value: object) -> timedelta:
    text = _text(value, "every")
    words = _EVERY.fullmatch(text.strip().lower())
    if words is None:
        raise InvalidTriggerConfigError(
            field="every",
            reason=f"{text!r} is not understood; write a number and seconds, minutes, hours, "
            "days or weeks, such as '30 minutes'",
        )
    number, unit = words.groups()
    return timedelta(**{f"{unit}s": int(number or 1)})


_READERS: Final[dict[str, Callable[[object], timedelta]]] = {
    "interval_ms": _milliseconds,
    "every": _plain_words,
}


def _anchor(anchor_at: datetime | None) -> datetime:
    if anchor_at is None or anchor_at.tzinfo is None:
        raise InvalidTriggerConfigError(
            field="anchor_at", reason="an interval needs the instant with zone it starts from"
        )
    return anchor_at.astimezone(UTC)


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidTriggerConfigError(
        field="run_at",
        reason=f"{text!r} is not an ISO 8601 instant with its offset; "
        "write it as 2026-12-01T09:00:00Z",
    )
