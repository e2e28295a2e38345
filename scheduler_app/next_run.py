"""When a schedule fires next: (rule, zone, after) -> instant. Pure: no Django, no clock.

Daylight saving follows Debian's cron. A cron rule is *fixed-time* when neither its minute nor its
hour field begins with `*`; else it is *wildcard*. A fixed-time fire is due at the first instant
at which the local clock shows its time or a later one: a time skipped by the clock runs once at
the first instant after the gap (several such fires become one), a repeated time runs on its first
occurrence only. A wildcard rule runs whenever the clock shows a matching time: nothing is made up
after a gap, both occurrences count. An interval is a grid in elapsed time: anchor + k x interval.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from scheduler_app.cron import HORIZON_YEARS, CronRule, InvalidTriggerConfigError
from scheduler_app.rules import IntervalRule, OneTimeRule, Rule, parse_rule, zone

__all__ = [
    "CronRule",
    "IntervalRule",
    "InvalidTriggerConfigError",
    "Missed",
    "OneTimeRule",
    "Rule",
    "Span",
    "Timed",
    "calculate_next_run",
    "count",
    "fires",
    "missed",
    "next_run",
    "parse_rule",
    "spans_from",
    "zone",
]

_TICK: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)


class Timed(Protocol):
    """What of a schedule decides when it runs."""

    @property
    def trigger_type(self) -> str: ...
    @property
    def schedule_type(self) -> str: ...
    @property
    def schedule_config(self) -> Mapping[str, object]: ...
    @property
    def timezone(self) -> str: ...
    @property
    def anchor_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Missed:
    """The fires of a range: the newest, some older ones (ascending), a summary of the rest."""

    newest: datetime
    older: tuple[datetime, ...]
    rest_count: int
    rest_first: datetime | None
    rest_last: datetime | None

    @property
    def count(self) -> int:
        return 1 + len(self.older) + self.rest_count


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one UTC offset, or the part of it inside one year. Naive datetimes.

    `wall` is the latest time the local clock had shown when the span began: below
    `start + offset` after a gap, above it where the clock went back.
    """

    start: datetime
    end: datetime
    offset: timedelta
    wall: datetime


def calculate_next_run(schedule: Timed, after: datetime) -> datetime | None:
    """The first fire of `schedule` after `after`, in UTC; None if time never starts it again.

    Raises InvalidTriggerConfigError if its settings cannot be used.
    """
    if schedule.trigger_type != "time_based":
        return None
    rule = parse_rule(
        schedule.schedule_type, schedule.schedule_config, anchor_at=schedule.anchor_at
    )
    return next_run(rule, zone(schedule.timezone), after)


def next_run(rule: Rule, zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first fire strictly after `after`, in UTC; None if there is none within 41 years."""
    return _first_fire(rule, zone, _utc(after) + _TICK)


def fires(rule: Rule, zone: ZoneInfo, *, after: datetime) -> Iterator[datetime]:
    """All fires strictly after `after`, ascending, in UTC."""
    fire = next_run(rule, zone, after)
    while fire is not None:
        yield fire
        fire = next_run(rule, zone, fire)


def missed(
    rule: Rule, zone: ZoneInfo, *, first: datetime, until: datetime, keep: int
) -> Missed | None:
    """The fires in [first, until], both ends included, or None if there are none.

    At most `keep` fires older than the newest are listed. The cost depends on `keep` and the
    number of days, not on the number of fires.
    """
    first, until = _utc(first), _utc(until)
    total = count(rule, zone, first=first, until=until)
    if total == 0:
        return None
    newest = _newest(rule, zone, first=first, until=until, size=keep + 2)
    listed = newest[-keep - 1 :]
    rest = total - len(listed)
    return Missed(
        newest=listed[-1],
        older=tuple(listed[:-1]),
        rest_count=rest,
        rest_first=_first_fire(rule, zone, first) if rest else None,
        rest_last=newest[-keep - 2] if rest else None,
    )


def count(rule: Rule, zone: ZoneInfo, *, first: datetime, until: datetime) -> int:
    """How many fires lie in [first, until], both ends included, by arithmetic."""
    if isinstance(rule, OneTimeRule):
        return int(first <= rule.run_at <= until)
    if isinstance(rule, IntervalRule):
        newest = (until - rule.anchor_at) // rule.interval
        return max(0, newest - _grid_index(rule, first) + 1)
    start, stop = _naive(first), _naive(until) + _TICK
    spans = takewhile(lambda span: span.start < stop, spans_from(zone, start))
    return sum(_count_in_span(rule, span, start, stop) for span in spans)


def spans_from(zone: ZoneInfo, start: datetime) -> Iterator[Span]:
    """The spans that end after `start` (naive, UTC), through the horizon of the search."""
    for year in range(start.year, min(start.year + HORIZON_YEARS, MAXYEAR)):
        for span in _spans(zone, year):
            if span.end > start:
                yield span


def _first_fire(rule: Rule, zone: ZoneInfo, first: datetime) -> datetime | None:
    """The first fire at or after `first`."""
    if isinstance(rule, OneTimeRule):
        return rule.run_at if rule.run_at >= first else None
    if isinstance(rule, IntervalRule):
        return rule.anchor_at + _grid_index(rule, first) * rule.interval
    start = _naive(first)
    for span in spans_from(zone, start):
        shown = rule.first_time(_opens(rule, span, start), before=span.end + span.offset)
        if shown is not None:
            return max(shown - span.offset, span.start).replace(tzinfo=UTC)
    return None


def _newest(
    rule: Rule, zone: ZoneInfo, *, first: datetime, until: datetime, size: int
) -> list[datetime]:
    """The newest `size` fires in [first, until], ascending; fewer if there are fewer."""
    minutes = range((until - first) // _MINUTE + 1)
    too_late = bisect_left(
        minutes,
        True,
        key=lambda n: count(rule, zone, first=first + n * _MINUTE, until=until) < size,
    )
    start = first + max(too_late - 1, 0) * _MINUTE
    found = takewhile(lambda fire: fire <= until, fires(rule, zone, after=start - _TICK))
    return list(found)[-size:]


def _grid_index(rule: IntervalRule, first: datetime) -> int:
    """The smallest k >= 1 whose fire is at or after `first`."""
    return max(1, -((rule.anchor_at - first) // rule.interval))


def _opens(rule: CronRule, span: Span, start: datetime) -> datetime:
    """The local minute from which `rule` may fire in `span`, for fires at or after `start`."""
    opens = span.start + span.offset if rule.is_wildcard else span.wall
    if start > span.start:
        opens = max(opens, start + span.offset)
    return _whole_minute(opens)


def _count_in_span(rule: CronRule, span: Span, start: datetime, stop: datetime) -> int:
    opens = _opens(rule, span, start)
    closes = _whole_minute(min(stop, span.end) + span.offset)
    after_gap = _whole_minute(span.start + span.offset + _TICK)
    if opens >= after_gap:
        return rule.count(opens, before=closes)
    at_once = rule.count(opens, before=after_gap)
    return min(at_once, 1) + rule.count(after_gap, before=closes)


@lru_cache(maxsize=8192)
def _spans(zone: ZoneInfo, year: int) -> tuple[Span, ...]:
    """The spans of a UTC year. The two days before it are read for a clock just set back."""
    opens = datetime(year, 1, 1)  # noqa: DTZ001 - naive throughout, for speed
    closes = datetime(year + 1, 1, 1)  # noqa: DTZ001
    start = opens - 2 * _DAY
    offset = _offset(zone, start)
    wall = start + offset
    days = (start + n * _DAY for n in range((closes - start).days))
    changes = [change for day in days if (change := _change(zone, day))]
    spans = []
    for end in [*changes, closes]:
        if start < opens < end:
            start, wall = opens, max(wall, opens + offset)
        if start >= opens:
            spans.append(Span(start=start, end=end, offset=offset, wall=wall))
        wall = max(wall, end + offset)
        start, offset = end, _offset(zone, end)
    return tuple(spans)


def _change(zone: ZoneInfo, day: datetime) -> datetime | None:
    """The instant in the 24 hours from `day` at which the offset changes.

    There is at most one: since 1970 no zone changed twice within six days.
    """
    before = _offset(zone, day - _SECOND)

    def has_changed(seconds: int) -> bool:
        return _offset(zone, day + seconds * _SECOND) != before

    last = _DAY // _SECOND - 1
    if not has_changed(last):
        return None
    return day + bisect_left(range(last), True, key=has_changed) * _SECOND


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    offset = zone.fromutc(instant.replace(tzinfo=zone)).utcoffset()
    assert offset is not None
    return offset


def _utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{instant!r} has no zone; pass an aware datetime")
    return instant.astimezone(UTC)


def _naive(instant: datetime) -> datetime:
    return _utc(instant).replace(tzinfo=None)


def _whole_minute(moment: datetime) -> datetime:
    """`moment` rounded up to a whole minute."""
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + _MINUTE
