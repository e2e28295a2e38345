"""Outside an execution's life: at which instants a schedule had to fire, worked out anew.

Deliberately naive and shares no line with the product: an interval is grid arithmetic, a cron rule
is tried on every minute that passed. Daylight saving as Debian's cron(8) has it: a rule whose
minute and hour fields both do not begin with `*` (fixed-time) runs once, at the first minute at
which the clock shows its time or has jumped past it; any other rule follows the clock as it shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

MINUTE: Final = timedelta(minutes=1)
LOOK_BACK: Final = timedelta(hours=26)  # farther than any clock was ever set back
MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905
WEEKDAYS: Final = "sun mon tue wed thu fri sat".split()  # noqa: SIM905


def fires(
    schedule_type: str, config: dict[str, Any], *, zone: str, since: datetime, until: datetime
) -> list[datetime]:
    """All fires with since < fire <= until, in UTC and in order; `since` anchors an interval.

    Raises ValueError for a rule it does not know.
    """
    match schedule_type:
        case "interval":
            return list(_interval(timedelta(milliseconds=config["interval_ms"]), since, until))
        case "one_time":
            run_at = datetime.fromisoformat(config["run_at"]).astimezone(UTC)
            return [run_at] if since < run_at <= until else []
        case "cron":
            return list(_cron(Cron.parse(config["cron"]), ZoneInfo(zone), since, until))
    raise ValueError(f"The oracle knows no schedule_type {schedule_type!r}")


def _interval(every: timedelta, anchor: datetime, until: datetime) -> Iterator[datetime]:
    fire = anchor.astimezone(UTC) + every
    while fire <= until:
        yield fire
        fire += every


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron rule as the sets of values that its fields admit."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    is_fixed_time: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """The rule of a crontab(5) line's five time fields; raises ValueError."""
        fields = text.lower().split()
        if len(fields) != 5:
            raise ValueError(f"The oracle reads cron rules of five fields, not {text!r}")
        minute, hour, day, month, weekday = fields
        return cls(
            minutes=_values(minute, 0, 59),
            hours=_values(hour, 0, 23),
            days=_values(day, 1, 31),
            months=_values(month, 1, 12, names=MONTHS),
            weekdays=frozenset(one % 7 for one in _values(weekday, 0, 7, names=WEEKDAYS)),
            either_day=not (day.startswith("*") or weekday.startswith("*")),
            is_fixed_time=not (minute.startswith("*") or hour.startswith("*")),
        )

    def admits(self, shown: datetime) -> bool:
        """Whether the rule matches what a clock on the wall shows."""
        day = shown.day in self.days
        weekday = shown.isoweekday() % 7 in self.weekdays
        return (
            shown.minute in self.minutes
            and shown.hour in self.hours
            and shown.month in self.months
            and (day or weekday if self.either_day else day and weekday)
        )


def _values(text: str, low: int, high: int, *, names: list[str] | None = None) -> frozenset[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = ("*", "", "") if span == "*" else span.partition("-")
        start = low if first == "*" else _value(first, low, names)
        end = _value(last, low, names) if dash else high if first == "*" or step else start
        if not low <= start <= end <= high:
            raise ValueError(f"The oracle cannot read the cron field {text!r}")
        chosen.update(range(start, end + 1, int(step or 1)))
    return frozenset(chosen)


def _value(text: str, low: int, names: list[str] | None) -> int:
    return low + names.index(text) if names and text in names else int(text)


def _cron(rule: Cron, zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    now = since.astimezone(UTC).replace(second=0, microsecond=0) - LOOK_BACK
    latest_shown = _shown(now, zone)
    while (now := now + MINUTE) <= until:
        shown = _shown(now, zone)
        if rule.is_fixed_time:
            is_due = any(rule.admits(one) for one in _reached(latest_shown, shown))
            latest_shown = max(latest_shown, shown)
        else:
            is_due = rule.admits(shown)
        if is_due and now > since:
            yield now


def _shown(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def _reached(latest: datetime, shown: datetime) -> Iterator[datetime]:
    """The times of day that the clock shows, or jumped over, for the first time."""
    while latest < shown:
        latest += MINUTE
        yield latest
