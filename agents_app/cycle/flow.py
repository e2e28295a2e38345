"""What is to happen next in the execute stage of a cycle, from the steps as they stand. Pure.

Steps of one wave may run together, at most `concurrency` of them; a wave begins once the one before
has ended. What depends on a step that did not end well is skipped, and so is everything that has
not begun once a critical step failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from executions_app.states import StepStatus as S

ENDED: Final = frozenset({S.COMPLETED, S.FAILED, S.SKIPPED, S.CANCELLED})
UNSTARTED: Final = frozenset({S.PLANNED, S.QUEUED})
BADLY: Final = ENDED - {S.COMPLETED}


@dataclass(frozen=True, slots=True)
class Standing:
    """One step, as far as the others depend on it."""

    id: UUID
    name: str
    position: int
    wave: int
    status: S
    depends_on: frozenset[UUID] = frozenset()
    is_critical: bool = False
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Next:
    """Which steps to queue and which to skip (with the reason), and the wave that runs then.

    `is_over`: every step has ended, or will have by this.
    """

    queue: tuple[UUID, ...] = ()
    skip: dict[UUID, str] = field(default_factory=dict)
    wave: int = 0
    is_over: bool = False


def follow(steps: Sequence[Standing], *, concurrency: int) -> Next:
    """What comes next; the same answer for the same steps, however often it is asked."""
    skip = _skipped(steps)
    left = [one for one in steps if one.status not in ENDED and one.id not in skip]
    if not left:
        return Next(skip=skip, wave=max((one.wave for one in steps), default=0), is_over=True)
    wave = min(one.wave for one in left)
    busy = sum(one.status in {S.QUEUED, S.RUNNING} for one in left)
    may_begin = sorted(
        (one for one in left if one.wave == wave and one.status is S.PLANNED),
        key=lambda one: (-one.priority, one.position),
    )
    chosen = may_begin[: max(0, concurrency - busy)]
    return Next(queue=tuple(one.id for one in chosen), skip=skip, wave=wave)


def _skipped(steps: Sequence[Standing]) -> dict[UUID, str]:
    """What will not begin any more, with the reason."""
    skip: dict[UUID, str] = {}
    broken = next((one for one in steps if one.is_critical and one.status is S.FAILED), None)
    if broken is not None:
        reason = f"the critical step {broken.name!r} failed"
        skip = {one.id: reason for one in steps if one.status in UNSTARTED}
    lost = {one.id: one.name for one in steps if one.status in BADLY or one.id in skip}
    while more := dict(_dependents(steps, lost, skip)):
        skip |= more
        lost |= {one.id: one.name for one in steps if one.id in more}
    return skip


def _dependents(
    steps: Iterable[Standing], lost: dict[UUID, str], skip: dict[UUID, str]
) -> Iterable[tuple[UUID, str]]:
    for one in steps:
        needed = next((each for each in one.depends_on if each in lost), None)
        if needed is not None and one.status in UNSTARTED and one.id not in skip:
            yield one.id, f"it depends on the step {lost[needed]!r}, which did not end well"
