"""Which past fires a backfill runs: the schedule's rule as it is now, in a range of instants.

Bounds of the schedule (start, end, number of runs, pauses) say when it fires by itself and do not
count here; its window and calendar do: a fire that they skip is not made up. The grid of an
interval reaches back beyond its anchor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Final

from executions_app.states import SchedulerException
from scheduler_app import coming, coming_rows, next_run
from scheduler_app.coming import Prospect
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.policies import FireReason
from scheduler_app.rules import IntervalRule

MOST_FIRES: Final = 100_000
MOST_LOOKED_AT: Final = 10_000
"""Fires that one page looks through; where a window skips more, the next page goes on."""
SHOWN: Final = 5
INSTANT: Final = timedelta(microseconds=1)


class InvalidBackfill(SchedulerException):
    """This range of this schedule cannot be made up; `field` says what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backfill will run: `runs` fires; `recorded` of the range have run by themselves."""

    runs: int
    skipped: int
    recorded: int
    first_fires: tuple[datetime, ...]
    last_fire: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """The next fires to run; `cursor` is the last one looked at, None if none was."""

    nominals: list[datetime]
    cursor: datetime | None
    is_last: bool


def of(schedule: Schedule, *, first: datetime, until: datetime, now: datetime) -> Plan:
    """The plan for [first, until]; raises InvalidBackfill."""
    prospect = _prospect(schedule, first)
    if until < first:
        raise InvalidBackfill("until", "lies before the beginning of the range")
    if until > now:
        raise InvalidBackfill("until", "lies in the future; what is to come fires by itself")
    count = next_run.count(prospect.rule, prospect.zone, first=first, until=until)
    if count > MOST_FIRES:
        message = f"there are {count} fires in the range; choose one with at most {MOST_FIRES}"
        raise InvalidBackfill("from", message)
    runs = [one for one in _nominals(prospect, first, until) if _runs(prospect, one)]
    recorded = FireRecord.objects.filter(
        schedule_id=schedule.id,
        nominal_at__gte=first,
        nominal_at__lte=until,
        cause="",
        reason=FireReason.DISPATCHED,
    )
    return Plan(
        runs=len(runs),
        skipped=count - len(runs),
        recorded=recorded.count(),
        first_fires=tuple(runs[:SHOWN]),
        last_fire=runs[-1] if runs else None,
    )


def page(
    schedule: Schedule, *, after: datetime | None, first: datetime, until: datetime, size: int
) -> Page:
    """The next `size` fires to run behind `after`; raises InvalidBackfill."""
    prospect = _prospect(schedule, first)
    begin = first if after is None else max(first, after + INSTANT)
    nominals: list[datetime] = []
    cursor = None
    looked_at = 0
    for nominal in islice(_nominals(prospect, begin, until), MOST_LOOKED_AT):
        if len(nominals) == size:
            return Page(nominals, cursor, is_last=False)
        cursor, looked_at = nominal, looked_at + 1
        if _runs(prospect, nominal):
            nominals.append(nominal)
    return Page(nominals, cursor, is_last=looked_at < MOST_LOOKED_AT)


def _prospect(schedule: Schedule, first: datetime) -> Prospect:
    prospect = coming_rows.prospect(schedule)
    if prospect is None:
        message = "time never starts this schedule, so it has missed nothing"
        raise InvalidBackfill("schedule", message)
    return replace(prospect, rule=_reaching_back(prospect.rule, first))


def _reaching_back(rule: next_run.Rule, first: datetime) -> next_run.Rule:
    if not isinstance(rule, IntervalRule) or rule.anchor_at < first:
        return rule
    steps = (rule.anchor_at - first) // rule.interval + 1
    return IntervalRule(rule.anchor_at - steps * rule.interval, rule.interval)


def _nominals(prospect: Prospect, first: datetime, until: datetime) -> Iterator[datetime]:
    fires = next_run.fires(prospect.rule, prospect.zone, after=first - INSTANT)
    return takewhile(lambda fire: fire <= until, fires)


def _runs(prospect: Prospect, nominal: datetime) -> bool:
    return coming.passed(prospect, nominal)[0] is FireReason.DISPATCHED
