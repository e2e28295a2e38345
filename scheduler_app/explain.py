"""A rule in words, before it is stored: the sentence, the next fires and what may surprise.

The preview of the editor and `cron explain` show what stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Final
from zoneinfo import ZoneInfo

from cron_descriptor import ExpressionDescriptor, Options

from scheduler_app import cron, next_run
from scheduler_app.cron import CronRule
from scheduler_app.next_run import Span
from scheduler_app.rules import IntervalRule, parse_rule

WARNED_AHEAD: Final = timedelta(days=366)
_UNITS: Final = (
    ("day", 86_400_000),
    ("hour", 3_600_000),
    ("minute", 60_000),
    ("second", 1000),
    ("millisecond", 1),
)


@dataclass(frozen=True, slots=True)
class ExplainedFire:
    """One fire as text: `...Z`, the local clock in ISO 8601 without offset, and `+02:00`.

    `starts_at` is when it may start, `...Z`: later than `utc` where it waits for an opening.
    """

    utc: str
    local: str
    offset: str
    starts_at: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a person should know of a cron expression; `dataclasses.asdict` makes its JSON."""

    sentence: str
    fires: tuple[ExplainedFire, ...]
    warnings: tuple[str, ...]


def explain(expression: str, tz: str, *, after: datetime, count: int) -> Explanation:
    """The sentence, the next `count` fires after `after` and the warnings of an expression.

    One that never fires is explained with a warning; a malformed one or an unknown zone raises
    InvalidTriggerConfigError.
    """
    rule, zone = cron.read_cron(expression), next_run.zone(tz)
    upcoming = list(islice(next_run.fires(rule, zone, after=after), count))
    return Explanation(
        sentence=f"{_cron_sentence(rule)} ({tz})",
        fires=tuple(explained(fire, zone) for fire in upcoming),
        warnings=tuple(_warnings(rule, zone, after, upcoming)),
    )


def preview(
    schedule_type: str,
    schedule_config: Mapping[str, object],
    tz: str,
    *,
    after: datetime,
    count: int,
) -> Explanation:
    """What `explain` says, for a rule of any type as a schedule would store it.

    An interval is counted from `after`. Raises InvalidTriggerConfigError.
    """
    expression = schedule_config.get("cron")
    if schedule_type == "cron" and isinstance(expression, str) and len(schedule_config) == 1:
        return explain(expression, tz, after=after, count=count)
    zone = next_run.zone(tz)
    rule = parse_rule(schedule_type, schedule_config, anchor_at=after)
    upcoming = islice(next_run.fires(rule, zone, after=after), count)
    fires = tuple(explained(fire, zone) for fire in upcoming)
    return Explanation(
        sentence=describe(schedule_type, schedule_config, tz),
        fires=fires,
        warnings=() if fires else ("Never fires: its instant has passed.",),
    )


def describe(schedule_type: str, schedule_config: Mapping[str, object], timezone: str) -> str:
    """One line on when a stored time-based schedule runs: "Every 30 minutes".

    Raises InvalidTriggerConfigError.
    """
    zone = next_run.zone(timezone)
    rule = parse_rule(schedule_type, schedule_config, anchor_at=datetime.min.replace(tzinfo=UTC))
    if isinstance(rule, CronRule):
        return f"{_cron_sentence(rule)} ({timezone})"
    if isinstance(rule, IntervalRule):
        return f"Every {_duration(rule.interval)}"
    local = rule.run_at.astimezone(zone)
    return f"Once, on {_date(local)} at {local:%H:%M} ({timezone})"


def _cron_sentence(rule: CronRule) -> str:
    fields = _plain_fields(rule)
    options = Options()
    options.locale_code = "en_US"
    options.use_24hour_time_format = True
    descriptor = ExpressionDescriptor(" ".join(fields), options)
    sentence = str(descriptor.get_description())
    if rule.takes_either_day and fields[4] != "*":
        # The library always reads two day fields as "and".
        weekdays = str(descriptor.get_day_of_week_description())
        either = " or " + weekdays.removeprefix(", ").removeprefix("only ")
        sentence = sentence.replace(weekdays, either)
    return sentence


def _plain_fields(rule: CronRule) -> list[str]:
    """The five fields as the library reads them well.

    `*` for what restricts nothing, such as 0-59; numbers for lists with steps in them and for
    steps of months and weekdays, on which it fails.
    """
    minutes = frozenset(time % 60 for time in rule.times)
    hours = frozenset(time // 60 for time in rule.times)
    days, weekdays = rule.days, rule.weekdays
    if rule.takes_either_day and (len(days) == 31 or len(weekdays) == 7):
        days, weekdays = frozenset(range(1, 32)), frozenset(range(7))
    plain = []
    sizes = (60, 24, 31, 12, 7)
    allowed = (minutes, hours, days, rule.months, weekdays)
    for index, (text, size, values) in enumerate(zip(rule.fields, sizes, allowed, strict=True)):
        if len(values) == size:
            plain.append("*")
        elif "/" in text and ("," in text or index > 2):
            plain.append(",".join(map(str, sorted(values))))
        else:
            plain.append(text)
    return plain


def _warnings(
    rule: CronRule, zone: ZoneInfo, after: datetime, upcoming: list[datetime]
) -> Iterator[str]:
    if not upcoming and next_run.next_run(rule, zone, after) is None:
        yield f"Never fires in the next {cron.HORIZON_YEARS} years."
        return
    if len({time % 60 for time in rule.times}) == 60:
        yield f"Fires every minute, {len(rule.times)} times on each day that matches."
    yield from clock_changes(rule, zone, after=after, until=max([after, *upcoming]))


def clock_changes(
    rule: CronRule, zone: ZoneInfo, *, after: datetime, until: datetime | None = None
) -> Iterator[str]:
    """What each change of the clock does to the fires of `rule`, in a year or up to `until`."""
    start = after.astimezone(UTC).replace(tzinfo=None)
    last = max(after + WARNED_AHEAD, until or after).astimezone(UTC).replace(tzinfo=None)
    spans = takewhile(lambda span: span.start <= last, next_run.spans_from(zone, start))
    for span in spans:
        if span.start > start:
            yield from _clock_change(rule, span, zone)


def _clock_change(rule: CronRule, span: Span, zone: ZoneInfo) -> Iterator[str]:
    """What the change of the clock at the start of `span` does to the fires of `rule`."""
    shown = span.start + span.offset
    opens, closes = min(span.wall, shown), max(span.wall, shown)
    affected = rule.first_time(opens, before=closes)
    follows_every_hour = rule.is_wildcard and len({time // 60 for time in rule.times}) == 24
    if affected is None or follows_every_hour:
        return
    is_gap = shown > span.wall
    number = rule.count(opens, before=closes)
    which = "the fire at" if number == 1 else f"the {number} fires from"
    yield (
        f"On {_date(shown)} the clock in {zone.key} {'jumps' if is_gap else 'goes back'} "
        f"from {_clock(span.wall, shown)} to {shown:%H:%M}: "
        f"{which} {_clock(affected, shown)} {_fate(rule, shown, is_gap=is_gap, number=number)}."
    )


def _fate(rule: CronRule, shown: datetime, *, is_gap: bool, number: int) -> str:
    run, do = ("runs", "does") if number == 1 else ("run", "do")
    if is_gap and rule.is_wildcard:
        return f"{do} not run"
    if is_gap:
        return f"{run} once, at {shown:%H:%M} instead"
    return f"{run} both times" if rule.is_wildcard else f"{run} the first time only"


def _clock(local: datetime, today: datetime) -> str:
    """The time of day, with its date if that is not `today`."""
    time = f"{local:%H:%M}"
    return time if local.date() == today.date() else f"{time} on {_date(local)}"


def _date(local: datetime) -> str:
    return f"{local:%A} {local.day} {local:%B} {local.year}"


def explained(fire: datetime, zone: ZoneInfo, starts_at: datetime | None = None) -> ExplainedFire:
    """A fire in UTC as text; without `starts_at` it starts when it fires."""
    local = fire.astimezone(zone)
    return ExplainedFire(
        utc=_utc(fire),
        local=local.replace(tzinfo=None).isoformat(),
        offset=f"{local:%z}"[:3] + ":" + f"{local:%z}"[3:5],
        starts_at=_utc(starts_at or fire),
    )


def _utc(instant: datetime) -> str:
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def _duration(interval: timedelta) -> str:
    left = interval // timedelta(milliseconds=1)
    parts = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}" + ("s" if number > 1 else ""))
    return parts[0].removeprefix("1 ") if len(parts) == 1 else " ".join(parts)
