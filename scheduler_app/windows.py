"""When a fire may start: execution windows and business calendars. Pure: no Django, no clock.

A window follows the clock as its zone shows it: it is open while the wall clock shows a time from
the first minute of a span up to, not including, its last. A span that ends at or before it begins
goes over midnight and belongs to the weekday on which it begins. Nothing is made up for a time
that the clock skips, and a time that it shows twice is open twice. A calendar closes whole days of
its own zone (weekends, holidays) and stretches between two instants (blackouts).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from scheduler_app.cron import InvalidTriggerConfigError
from scheduler_app.next_run import Span, spans_from

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_STEPS: Final = 400
"""So many closed days or blackouts in a row are looked at before the answer is: never."""
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_SPAN: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)", re.ASCII)
_MINUTE: Final = timedelta(minutes=1)

Closed = Literal["window", "calendar"]


@dataclass(frozen=True, slots=True)
class Window:
    """The stretches of a week in which a fire may start: minutes since Monday 00:00, merged."""

    zone: ZoneInfo
    stretches: tuple[tuple[int, int], ...]

    def is_open(self, at: datetime) -> bool:
        """True if the wall clock of the zone shows a time inside a stretch."""
        return self._index(_minute_of_week(at.astimezone(self.zone))) is not None

    def next_open(self, at: datetime) -> datetime | None:
        """The first instant from `at` on at which it is open; None if there is none in 41 years."""
        start = at.astimezone(UTC).replace(tzinfo=None)
        for span in spans_from(self.zone, start):
            shown = self._next_shown(max(start, span.start) + span.offset)
            if shown is not None and shown < span.end + span.offset:
                return (shown - span.offset).replace(tzinfo=UTC)
        return None

    def _index(self, minute: int) -> int | None:
        index = bisect_right(self.stretches, (minute, _WEEK)) - 1
        return index if index >= 0 and minute < self.stretches[index][1] else None

    def _next_shown(self, shown: datetime) -> datetime | None:
        """The first reading of the clock from `shown` on that is inside a stretch."""
        if not self.stretches:
            return None
        minute = _minute_of_week(shown)
        if self._index(minute) is not None:
            return shown
        begins = [begin for begin, _ in self.stretches]
        after = bisect_right(begins, minute)
        following = begins[after] if after < len(begins) else begins[0] + _WEEK
        whole = shown.replace(second=0, microsecond=0)
        return whole + (following - minute) * _MINUTE


@dataclass(frozen=True, slots=True)
class Calendar:
    """The days and stretches that are closed; weekdays as numbers, Monday 0; blackouts merged."""

    zone: ZoneInfo
    weekend: frozenset[int] = frozenset()
    holidays: frozenset[date] = frozenset()
    blackouts: tuple[tuple[datetime, datetime], ...] = ()

    def closed_until(self, at: datetime) -> datetime | None:
        """None if it is open at `at`; else the earliest instant at which this may be over."""
        index = bisect_right(self.blackouts, at, key=lambda one: one[0]) - 1
        if index >= 0 and at < self.blackouts[index][1]:
            return self.blackouts[index][1]
        shown = at.astimezone(self.zone)
        if shown.weekday() in self.weekend or shown.date() in self.holidays:
            return self._end_of_day(at)
        return None

    def _end_of_day(self, at: datetime) -> datetime:
        """Midnight, or the change of the clock before it, which may set the date on or back."""
        naive = at.astimezone(UTC).replace(tzinfo=None)
        span: Span = next(spans_from(self.zone, naive))
        shown = naive + span.offset
        midnight = shown.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return min(midnight - span.offset, span.end).replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Openings:
    """A window and a calendar together; either may be missing and is then always open."""

    window: Window | None = None
    calendar: Calendar | None = None

    def closed_by(self, at: datetime) -> Closed | None:
        """What forbids a start at `at`; None if nothing does."""
        if self.window is not None and not self.window.is_open(at):
            return "window"
        if self.calendar is not None and self.calendar.closed_until(at) is not None:
            return "calendar"
        return None

    def next_opening(self, at: datetime) -> datetime | None:
        """The first instant from `at` on at which a fire may start; None if that never comes.

        The search is bounded by MOST_STEPS, so a window that a calendar always closes costs no
        more than that.
        """
        opening: datetime | None = at
        if self.calendar is not None and len(self.calendar.weekend) == len(WEEKDAYS):
            return None
        for _ in range(MOST_STEPS):
            if self.window is not None and opening is not None:
                opening = self.window.next_open(opening)
            if opening is None or self.calendar is None:
                return opening
            until = self.calendar.closed_until(opening)
            if until is None:
                return opening
            opening = until
        return None


def parse_window(words: Mapping[str, object], *, zone: ZoneInfo) -> Window | None:
    """The window of `{"hours": ["09:00-17:00"], "weekdays": ["mon"]}`; None if it is empty.

    A list that is missing or empty restricts nothing. Raises InvalidTriggerConfigError, whose
    field is `hours`, `weekdays` or the unknown key.
    """
    unknown = sorted(str(key) for key in words if key not in {"hours", "weekdays"})
    if unknown:
        raise InvalidTriggerConfigError(
            field=unknown[0], reason="not known here; a window has hours and weekdays"
        )
    hours, days = _texts(words, "hours"), _texts(words, "weekdays")
    if not hours and not days:
        return None
    spans = [_span(text) for text in hours] or [(0, _DAY)]
    return Window(zone, _week([weekday(one) for one in days] or range(7), spans))


def weekday(word: str) -> int:
    """The number of a weekday's short English name, Monday 0; raises InvalidTriggerConfigError."""
    if word not in WEEKDAYS:
        raise InvalidTriggerConfigError(
            field="weekdays", reason=f"{word!r} is none of {', '.join(WEEKDAYS)}"
        )
    return WEEKDAYS.index(word)


def merged(stretches: Iterable[tuple[datetime, datetime]]) -> tuple[tuple[datetime, datetime], ...]:
    """Blackouts as `Calendar` wants them: ascending, none touching the next."""
    found: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(stretches):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return tuple(found)


def _span(text: str) -> tuple[int, int]:
    """The minutes of a day from which and to which a span is open; overnight ones end after it."""
    if not _SPAN.fullmatch(text):
        raise InvalidTriggerConfigError(
            field="hours", reason=f"{text!r} is not a span; write one such as 09:00-17:00"
        )
    begin, end = (int(part[:2]) * 60 + int(part[3:]) for part in text.split("-"))
    if begin == end:
        raise InvalidTriggerConfigError(
            field="hours", reason=f"{text!r} is empty; a whole day is 00:00-24:00"
        )
    return begin, end if end > begin else end + _DAY


def _week(days: Iterable[int], spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The spans of each of the days, as stretches of one week that neither touch nor wrap."""
    cut: list[tuple[int, int]] = []
    for day in days:
        for begin, end in spans:
            first, last = day * _DAY + begin, day * _DAY + end
            cut.append((first, min(last, _WEEK)))
            if last > _WEEK:
                cut.append((0, last - _WEEK))
    found: list[tuple[int, int]] = []
    for first, last in sorted(cut):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def _minute_of_week(shown: datetime) -> int:
    return shown.weekday() * _DAY + shown.hour * 60 + shown.minute


def _texts(words: Mapping[str, object], key: str) -> list[str]:
    value = words.get(key, [])
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise InvalidTriggerConfigError(field=key, reason="not a list of words")
    return list(value)
