"""When a schedule would run that is not stored yet: its rule, its bounds, its window and calendar.

`explain` tells what the rule means; here its fires are those that would start an execution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from executions_app.wording import iso
from scheduler_app import coming, coming_rows, explain, first_run, next_run
from scheduler_app.coming import Coming, Prospect
from scheduler_app.explain import Explanation
from scheduler_app.models import Schedule

MOST_LOOKED_AT: Final = 10_000
LAST: Final = datetime.max.replace(tzinfo=UTC)


def read(schedule: Schedule, *, now: datetime, count: int) -> Explanation:
    """What the rule of an unstored schedule means, and its next `count` starts from `now`.

    Warnings tell what its window or calendar skips, and an end that leaves fewer. Raises
    InvalidTriggerConfigError.
    """
    rule = schedule.schedule_type, schedule.schedule_config, schedule.timezone
    told = explain.preview(*rule, after=now, count=count)
    if not told.fires:  # it never fires, and that is told
        return told
    schedule.anchor_at = first_run.anchor(schedule, now)
    prospect = _prospect(schedule, now)
    looked_at = list(_looked_at(prospect, now=now, count=count))
    runs = [one for one in looked_at if one.due_at is not None]
    fires = [explain.explained(one.nominal_at, prospect.zone, one.due_at) for one in runs]
    warnings = (*told.warnings, *_warnings(looked_at, runs, count=count))
    return replace(told, fires=tuple(fires), warnings=warnings)


def _prospect(schedule: Schedule, now: datetime) -> Prospect:
    prospect = coming_rows.prospect(schedule)
    assert prospect is not None  # time starts it
    after = max(now, (schedule.start_at or now) - first_run.INSTANT)
    first = next_run.next_run(prospect.rule, prospect.zone, after)
    return replace(prospect, next_run_at=first)


def _looked_at(prospect: Prospect, *, now: datetime, count: int) -> Iterator[Coming]:
    """The fires up to the last one that is shown, those that are skipped included."""
    shown = 0
    for one in islice(coming.fires(prospect, now=now, until=LAST), MOST_LOOKED_AT):
        yield one
        shown += one.due_at is not None
        if shown == count:
            return


def _warnings(looked_at: list[Coming], runs: list[Coming], *, count: int) -> Iterator[str]:
    skipped = [one for one in looked_at if one.due_at is None]
    if skipped:
        are = "1 fire is" if len(skipped) == 1 else f"{len(skipped)} fires are"
        last = iso(skipped[-1].nominal_at)
        yield f"{are} skipped up to {last}: its window or its calendar is closed then."
    if len(runs) == count or len(looked_at) == MOST_LOOKED_AT:
        return
    yield "It ends after these." if runs else "Never runs: its end leaves no fire."
