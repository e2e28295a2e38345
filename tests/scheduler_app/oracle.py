"""A second, slow opinion on when a cron expression fires: every UTC minute is looked at.

Written from the rules alone and sharing nothing with the product, croniter included. It reads
valid expressions only.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
NAMES = {
    **{name: number for number, name in enumerate(MONTHS, start=1)},
    **{name: number for number, name in enumerate(WEEKDAYS)},
}


def fires(expression: str, zone_name: str, start: datetime, end: datetime) -> list[datetime]:
    """The instants in (start, end] at which `expression` fires, in UTC, ascending.

    Every zone's clock is looked at on whole UTC minutes, as is every fire since about 1972.
    """
    pattern = Pattern(expression)
    zone = ZoneInfo(zone_name)
    instant = start.astimezone(UTC).replace(second=0, microsecond=0)
    before = instant.astimezone(zone)
    found = []
    while (instant := instant + MINUTE) <= end:
        shown = instant.astimezone(zone)
        if pattern.is_fixed_time:
            is_first_time = shown.fold == 0
            hit = (is_first_time and pattern.matches(shown)) or any(
                pattern.matches(skipped) for skipped in between(before, shown)
            )
        else:
            hit = pattern.matches(shown)
        if hit:
            found.append(instant)
        before = shown
    return found


def between(before: datetime, shown: datetime) -> Iterator[datetime]:
    """The minutes that the clock jumped over on its way from one reading to the next."""
    last = shown.replace(tzinfo=None)
    skipped = before.replace(tzinfo=None) + MINUTE
    while skipped < last:
        yield skipped
        skipped += MINUTE


class Pattern:
    """The five fields as sets of numbers."""

    def __init__(self, expression: str) -> None:
        fields = MACROS.get(expression, expression).lower().split()
        minute, hour, day, month, weekday = fields
        self.minutes = numbers(minute, 0, 59)
        self.hours = numbers(hour, 0, 23)
        self.days = numbers(day, 1, 31)
        self.months = numbers(month, 1, 12)
        self.weekdays = {number % 7 for number in numbers(weekday, 0, 7)}
        self.is_fixed_time = not minute.startswith("*") and not hour.startswith("*")
        self.either_day = not day.startswith("*") and not weekday.startswith("*")
        self.matches_day = lru_cache(maxsize=None)(self._matches_day)

    def matches(self, shown: datetime) -> bool:
        return (
            shown.minute in self.minutes
            and shown.hour in self.hours
            and self.matches_day(shown.date())
        )

    def _matches_day(self, day: date) -> bool:
        rules = (day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays)
        return day.month in self.months and (any(rules) if self.either_day else all(rules))


def numbers(field: str, lowest: int, highest: int) -> set[int]:
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        if span == "*":
            low, high = lowest, highest
        else:
            low_word, dash, high_word = span.partition("-")
            low = number(low_word)
            high = number(high_word) if dash else low
        found.update(range(low, high + 1, int(step or 1)))
    return found


def number(word: str) -> int:
    return NAMES[word] if word in NAMES else int(word)
