"""One more execution beside those that have not ended: the overlap policy, whatever starts it.

Time fires are decided by the batch; a trigger by hand, an event or an upstream schedule asks
`admit`. What waits for others is let go here, one of each schedule, when the last of them ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from executions_app import clock, overlaps
from executions_app.overlaps import Active
from executions_app.states import SchedulerException
from scheduler_app import coming_rows, policies
from scheduler_app.models import Schedule
from scheduler_app.policies import Entry, OverlapPolicy

NAMED_AT_MOST: Final = 5


class StillActive(SchedulerException):
    """The overlap policy admits no further execution now."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an execution comes in: held until others have ended, at once, or not at all.

    `active` names the oldest of those in its way, where it is refused.
    """

    held_by: str = ""
    is_refused: bool = False
    active: tuple[Active, ...] = ()
    reason: str = ""

    def check(self) -> None:
        """Raise StillActive, with the reason for people, if it is refused."""
        if self.is_refused:
            raise StillActive(self.reason, active=[str(one.id) for one in self.active])


def admit(schedule: Schedule, *, override: OverlapPolicy | None = None) -> Verdict:
    """How one more execution of this schedule comes in, now; `override` in place of its policy.

    In the caller's transaction, which creates the execution: the schedule's row is locked until it
    ends. With `cancel_running` the others are cancelled, or asked to stop, before this answers.
    """
    overlap = override or OverlapPolicy(schedule.overlap_policy)
    if overlap is OverlapPolicy.ALLOW:
        return Verdict()
    _lock([schedule.id])
    its_id = str(schedule.id)
    found = overlaps.standing([its_id]).get(its_id, overlaps.Standing())
    entry = policies.enter(
        overlap,
        has_active=found.active > 0,
        held=found.held,
        buffer_limit=schedule.buffer_limit,
    )
    match entry:
        case Entry.RUN:
            return Verdict()
        case Entry.WAIT:
            return Verdict(held_by=overlaps.held_by(its_id))
        case Entry.REPLACE:
            is_running = its_id in overlaps.supersede([its_id])
            return Verdict(held_by=overlaps.held_by(its_id) if is_running else "")
    return _refused(schedule, overlap, found)


def let_go(schedule_ids: Sequence[UUID | str]) -> int:
    """Let the next that waits go, of each of these schedules; answers how many went.

    In the caller's transaction, which has locked the schedules. One whose window is closed by now
    becomes due when it opens.
    """
    released = overlaps.release(schedule_ids)
    if released:
        _wait_for_openings(released, now=clock.now())
    return len(released)


def let_go_all(*, limit: int, after: str = "") -> str:
    """Look at up to `limit` schedules for whose executions something waits; the last one's id.

    Empty when there are no more. Nothing waits for ever for an execution that ended unseen: one of
    a deleted schedule, or of one whose policy was changed.
    """
    with transaction.atomic():
        ids = overlaps.waited_for(after=after, most=limit)
        if ids:
            _lock([UUID(one) for one in ids])
            let_go(ids)
    return ids[-1] if len(ids) == limit else ""


def _refused(schedule: Schedule, overlap: OverlapPolicy, found: overlaps.Standing) -> Verdict:
    active = tuple(overlaps.which(schedule.id, most=NAMED_AT_MOST))
    named = ", ".join(f"#{one.number} ({one.status})" for one in active)
    more = f" and {found.active - len(active)} more" if found.active > len(active) else ""
    reason = (
        f"Schedule {schedule.name!r} has executions that have not ended: {named}{more}. "
        f"Its overlap policy {overlap.value!r} admits no further one; wait, cancel them, or "
        "trigger it with overlap 'allow'"
    )
    return Verdict(is_refused=True, active=active, reason=reason)


def _wait_for_openings(released: dict[UUID, UUID], *, now: datetime) -> None:
    with_windows = Schedule.objects.filter(id__in=released.values(), is_plain=False)
    rows = {one.id: one for one in with_windows.select_related("calendar")}
    later: list[tuple[UUID, str]] = []
    for execution_id, schedule_id in released.items():
        openings = coming_rows.openings(rows[schedule_id]) if schedule_id in rows else None
        opening = None if openings is None else openings.next_opening(now)
        if opening is not None and opening > now:
            later.append((execution_id, opening.isoformat()))
    if later:
        overlaps.delay(later)


def _lock(schedule_ids: Sequence[UUID]) -> None:
    rows = Schedule.objects.filter(id__in=schedule_ids).order_by("id")
    list(rows.select_for_update().values_list("id"))
