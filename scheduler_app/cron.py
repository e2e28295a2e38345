"""What a cron expression may say, before anything runs: checked on save, matched by `next_run`.

Accepted is what crontab(5) has: five fields and the macros. `croniter` expands the fields, but
only after the checks here: alone it takes six fields, random values and absurd steps, and reads
`5-5` as "every". Matching knows wall clocks only; zones and daylight saving are `next_run`'s.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final

from croniter import croniter

from executions_app.states import SchedulerException

MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
LONGEST_EXPRESSION: Final = 500
# Every date pattern that ever matches does so within 40 years: the longest wait is for a
# 29 February on a given weekday across a century without a leap day.
HORIZON_YEARS: Final = 41
ONE_DAY: Final = timedelta(days=1)


class InvalidTriggerConfigError(SchedulerException):
    """A trigger's settings cannot be used: `field` names the setting, `reason` says why not."""

    def __init__(self, *, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}", field=field)
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()

    def number(self, word: str) -> int:
        """The value of a number or a name, inside this field's range."""
        if word.isdigit():
            value = int(word)
        elif word.lower() in self.names:
            value = self.first + self.names.index(word.lower())
        else:
            raise _refused(f"{word!r} is not a {self.name}; {self._allowed()}")
        if not self.first <= value <= self.last:
            raise _refused(f"{self.name} {value} is outside {self.first}-{self.last}")
        return value

    def _allowed(self) -> str:
        span = f"write a number from {self.first} to {self.last}"
        return f"{span} or a name from {self.names[0]} to {self.names[-1]}" if self.names else span


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _WEEKDAYS),
)
_ITEM: Final = re.compile(
    r"(?:(?P<star>\*)|(?P<low>[0-9]{1,4}|[a-zA-Z]{3})(?:-(?P<high>[0-9]{1,4}|[a-zA-Z]{3}))?)"
    r"(?:/(?P<step>[0-9]{1,9}))?"
)


@dataclass(frozen=True, slots=True)
class CronRule:
    """The local minutes an expression names. Equal and hashed by the expression as given."""

    expression: str
    fields: tuple[str, ...] = field(compare=False)
    """The five fields with numbers for names and macros written out."""
    times: tuple[int, ...] = field(compare=False)
    """Minutes since local midnight, ascending."""
    days: frozenset[int] = field(compare=False)
    months: frozenset[int] = field(compare=False)
    weekdays: frozenset[int] = field(compare=False)
    """0 to 6, Sunday first."""

    @property
    def is_wildcard(self) -> bool:
        """True if the rule follows the clock: its minute or hour field begins with `*`."""
        return self.fields[0][0] == "*" or self.fields[1][0] == "*"

    @property
    def takes_either_day(self) -> bool:
        """True if both day fields are restricted, so that either may match (crontab(5))."""
        return self.fields[2][0] != "*" and self.fields[4][0] != "*"

    def matches_day(self, day: date) -> bool:
        """True if the rule names minutes of this local day."""
        if day.month not in self.months:
            return False
        by_date = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        if self.takes_either_day:
            return by_date or by_weekday
        return by_date and by_weekday

    def first_time(self, start: datetime, *, before: datetime) -> datetime | None:
        """The first named local minute in [start, before), both naive wall clock times."""
        day = start.date()
        index = bisect_left(self.times, _minute_of_day(start))
        if index == len(self.times) or not self.matches_day(day):
            following = self._next_day(day + ONE_DAY, last=before.date())
            if following is None:
                return None
            day, index = following, 0
        hour, minute = divmod(self.times[index], 60)
        found = datetime.combine(day, time(hour, minute))
        return found if found < before else None

    def count(self, start: datetime, *, before: datetime) -> int:
        """How many local minutes in [start, before) the rule names; both naive, whole minutes."""
        if before <= start:
            return 0
        days = (before.date() - start.date()).days
        if not self._matches_every_day:
            days = sum(self.matches_day(start.date() + n * ONE_DAY) for n in range(days))
        return days * len(self.times) + self._passed(before) - self._passed(start)

    @property
    def _matches_every_day(self) -> bool:
        every_weekday, every_date = len(self.weekdays) == 7, len(self.days) == 31
        return len(self.months) == 12 and every_weekday and every_date

    def _passed(self, moment: datetime) -> int:
        """How many named minutes of the day of `moment` lie before it."""
        if not self.matches_day(moment.date()):
            return 0
        return bisect_left(self.times, _minute_of_day(moment))

    def _next_day(self, day: date, *, last: date) -> date | None:
        while day <= last:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
            elif self.matches_day(day):
                return day
            else:
                day += ONE_DAY
        return None


def parse_cron(expression: str) -> CronRule:
    """The rule of an expression that may be stored.

    Raises InvalidTriggerConfigError (field `cron`) if crontab(5) has no such form, a value is out
    of range, or no date ever matches, as on 30 February.
    """
    rule = read_cron(expression)
    if never_fires(rule):
        raise _refused(f"{expression!r} never fires: no year has such a date; change day or month")
    return rule


def validate_cron_expression(expression: str) -> bool:
    """True if a schedule may be stored with this expression; `parse_cron` says why not."""
    try:
        parse_cron(expression)
    except InvalidTriggerConfigError:
        return False
    return True


def never_fires(rule: CronRule) -> bool:
    """True if no date of the calendar matches, whatever the zone."""
    start = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall clock, of no zone
    return rule.first_time(start, before=start.replace(year=2000 + HORIZON_YEARS)) is None


@lru_cache(maxsize=16_384)
def read_cron(expression: str) -> CronRule:
    """The rule of a well-formed expression, even of one that never fires.

    Raises InvalidTriggerConfigError (field `cron`).
    """
    words = _words(expression)
    fields = tuple(_canonical(one, word) for one, word in zip(_FIELDS, words, strict=True))
    expanded, _ = croniter.expand(" ".join(fields))
    minutes, hours, days, months, weekdays = (
        range(one.first, one.last + 1) if "*" in values else values
        for one, values in zip(_FIELDS, expanded, strict=True)
    )
    return CronRule(
        expression=expression,
        fields=fields,
        times=_times(tuple(hours), tuple(minutes)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(value % 7 for value in weekdays),
    )


@lru_cache(maxsize=4096)
def _times(hours: tuple[int, ...], minutes: tuple[int, ...]) -> tuple[int, ...]:
    """Shared by all rules of the same times: an every-minute rule has 1440 of them."""
    return tuple(sorted(hour * 60 + minute for hour in hours for minute in minutes))


def _words(expression: str) -> list[str]:
    if len(expression) > LONGEST_EXPRESSION:
        raise _refused(f"longer than {LONGEST_EXPRESSION} characters")
    if not expression.isascii() or not expression.replace("\t", " ").isprintable():
        raise _refused(f"{expression!r} holds characters that no cron expression has")
    if expression.strip().startswith("@"):
        if expression.strip() not in MACROS:
            raise _refused(f"{expression!r} is none of the macros {', '.join(MACROS)}")
        expression = MACROS[expression.strip()]
    words = expression.split()
    if len(words) != len(_FIELDS):
        raise _refused(
            f"{expression!r} has {len(words)} fields, not five: "
            "minute, hour, day of month, month, weekday"
        )
    return words


def _canonical(one: _Field, word: str) -> str:
    """The field with numbers for names and `5` for `5-5`, every item checked."""
    return ",".join(_canonical_item(one, item) for item in word.split(","))


def _canonical_item(one: _Field, item: str) -> str:
    parts = _ITEM.fullmatch(item)
    if parts is None:
        raise _refused(
            f"{one.name} {item!r} is not in crontab(5): write *, a number, a range such as 1-5, "
            "a step such as */15, or a list of these; L, W, #, ?, H and R are not supported"
        )
    if parts["star"]:
        count = one.last - one.first + (0 if one.name == "weekday" else 1)
        return "*" + _canonical_step(one, parts["step"], count=count)
    low = one.number(parts["low"])
    high = one.number(parts["high"] or parts["low"])
    if high < low:
        raise _refused(
            f"{one.name} range {item!r} runs backwards; "
            f"write two ranges, such as {low}-{one.last},{one.first}-{high}"
        )
    if parts["step"] and not parts["high"]:
        raise _refused(
            f"{one.name} {item!r} steps from a single value; write {low}-{one.last}/{parts['step']}"
        )
    step = _canonical_step(one, parts["step"], count=high - low + 1)
    return str(low) if low == high else f"{low}-{high}{step}"


def _canonical_step(one: _Field, step: str | None, *, count: int) -> str:
    if step is None:
        return ""
    if not 1 <= int(step) <= count:
        raise _refused(
            f"{one.name} step {int(step)} is outside 1-{count}, the values it steps over"
        )
    return f"/{int(step)}"


def _minute_of_day(moment: datetime) -> int:
    return moment.hour * 60 + moment.minute


def _refused(reason: str) -> InvalidTriggerConfigError:
    return InvalidTriggerConfigError(field="cron", reason=reason)
