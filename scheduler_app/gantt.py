"""The steps of a cycle as bars over time: how long each waited and how long it ran. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

WIDTH: Final = 1_000
LEAST: Final = 4
"""What has taken no time is seen all the same."""


@dataclass(frozen=True, slots=True)
class Timed:
    """When a step was queued, begun and ended; None for what has not come."""

    queued_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Bar:
    """Where a step waited and where it ran, in parts of WIDTH; a part of no width is not drawn."""

    wait_x: int = 0
    wait_width: int = 0
    run_x: int = 0
    run_width: int = 0
    took: timedelta | None = None


def draw(steps: Sequence[Timed], *, now: datetime) -> list[Bar]:
    """A bar for each step, on one scale from the first queued to the last ended, or to `now`."""
    begun = [one.queued_at or one.started_at for one in steps]
    first = min((one for one in begun if one is not None), default=None)
    if first is None:
        return [Bar() for _ in steps]
    ends = [one.completed_at or now for one in steps if one.queued_at is not None or one.started_at]
    scale = _Scale(first, max(max(ends) - first, timedelta(milliseconds=1)))
    return [_bar(one, scale, now=now) for one in steps]


@dataclass(frozen=True, slots=True)
class _Scale:
    first: datetime
    length: timedelta

    def __call__(self, at: datetime) -> int:
        share = (at - self.first) / self.length
        return round(WIDTH * max(0.0, min(1.0, share)))


def _bar(step: Timed, scale: _Scale, *, now: datetime) -> Bar:
    queued = step.queued_at or step.started_at
    if queued is None:
        return Bar()
    ended = step.completed_at or now
    begun = step.started_at or ended
    wait_x, run_x = scale(queued), scale(begun)
    if step.started_at is None:
        return Bar(wait_x=wait_x, wait_width=max(run_x - wait_x, LEAST))
    run_x = min(run_x, WIDTH - LEAST)
    return Bar(
        wait_x=wait_x,
        wait_width=max(run_x - wait_x, 0),
        run_x=run_x,
        run_width=max(scale(ended) - run_x, LEAST),
        took=max(ended - begun, timedelta()),
    )
