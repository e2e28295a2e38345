"""A second, slow opinion on windows and calendars: every UTC minute is looked at, as written.

Shares nothing with the product; it reads valid words only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Words:
    """A window and a calendar as people write them."""

    zone: str = "UTC"
    window: Mapping[str, Sequence[str]] = field(default_factory=dict)
    calendar_zone: str = "UTC"
    weekend: Sequence[str] = ()
    holidays: Sequence[str] = ()
    blackouts: Sequence[tuple[datetime, datetime]] = ()


def closed_by(words: Words, at: datetime) -> str | None:
    if not in_window(words, at.astimezone(ZoneInfo(words.zone))):
        return "window"
    if any(begin <= at < end for begin, end in words.blackouts):
        return "calendar"
    shown = at.astimezone(ZoneInfo(words.calendar_zone))
    is_free_day = NAMES[shown.weekday()] in words.weekend
    return "calendar" if is_free_day or f"{shown:%Y-%m-%d}" in words.holidays else None


def in_window(words: Words, shown: datetime) -> bool:
    days = words.window.get("weekdays") or NAMES
    today, yesterday = NAMES[shown.weekday()], NAMES[(shown - DAY).weekday()]
    clock = f"{shown:%H:%M}"
    for span in words.window.get("hours") or ["00:00-24:00"]:
        begin, end = span.split("-")
        if begin < end:
            if today in days and begin <= clock < end:
                return True
        elif (today in days and clock >= begin) or (yesterday in days and clock < end):
            return True
    return False


def next_opening(words: Words, at: datetime, *, until: datetime) -> datetime | None:
    """The first open instant from `at` up to `until`: `at` itself or a whole minute after it."""
    moment = at.astimezone(UTC)
    while moment <= until:
        if closed_by(words, moment) is None:
            return moment
        moment = moment.replace(second=0, microsecond=0) + MINUTE
    return None
