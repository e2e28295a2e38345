"""One more execution beside those that have not ended: the overlap policy, whatever starts it.

Time fires are decided by the batch; a trigger by hand, an event or an upstream schedule asks
`admit`. What waits for others is let go here, one of each schedule, when the last of them ended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from executions_app import clock, overlaps, prepared
from executions_app.models import Execution
from executions_app.overlaps import Active
from executions_app.states import SchedulerException, Trigger
from scheduler_app import coming_rows, policies
from scheduler_app.models import Schedule
from scheduler_app.policies import Entry, OverlapPolicy

NAMED_AT_MOST: Final = 5
WITH_WINDOWS: Final = """
SELECT id FROM task_schedules WHERE id = ANY(%s::uuid[]) AND NOT is_plain
    AND (execution_window <> '{}' OR calendar_id IS NOT NULL)
"""
ASK_FOR_WINDOWS: Final = (Trigger.TIME, Trigger.EVENT, Trigger.DEPENDENCY)

logger = logging.getLogger(__name__)


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


def admit(
    schedule: Schedule, *, override: OverlapPolicy | None = None, replacing: str = ""
) -> Verdict:
    """How one more execution of this schedule comes in, now; `override` in place of its policy.

    What was asked to stop for it, as work of the key `replacing`, is not in its way.

    In the caller's transaction, which creates the execution: the schedule's row is locked until it
    ends. With `cancel_running` the others are cancelled, or asked to stop, before this answers.
    """
    overlap = override or OverlapPolicy(schedule.overlap_policy)
    if overlap is OverlapPolicy.ALLOW:
        return Verdict()
    _lock([schedule.id])
    its_id = str(schedule.id)
    if replacing:
        found = overlaps.standing_beside(schedule.id, unique_key=replacing)
    else:
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


def put_off(waiting: Mapping[UUID, UUID | None]) -> set[UUID]:
    """Of executions that may start now, those whose window is closed: due when it opens.

    In the caller's transaction, which has locked them; {execution: schedule}. Nobody who starts one
    by hand, and no backfill, asks for a window; what was tried once has started in time.
    """
    schedule_ids = list({one for one in waiting.values() if one})
    if not schedule_ids:
        return set()
    found = {row[0] for row in prepared.execute(WITH_WINDOWS, [schedule_ids]).fetchall()}
    concerned = {id_: one for id_, one in waiting.items() if one is not None and one in found}
    if not concerned:
        return set()
    asking = Execution.objects.filter(
        id__in=concerned, attempt=0, started_at=None, trigger__in=ASK_FOR_WINDOWS
    )
    rows = {id_: concerned[id_] for id_ in asking.values_list("id", flat=True)}
    return _wait_for_openings(rows, now=clock.now())


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


def _wait_for_openings(released: Mapping[UUID, UUID], *, now: datetime) -> set[UUID]:
    with_windows = Schedule.objects.filter(id__in=released.values(), is_plain=False)
    openings = {one.id: _opening(one, now=now) for one in with_windows.select_related("calendar")}
    later: list[tuple[UUID, str]] = []
    for execution_id, schedule_id in released.items():
        opening = openings.get(schedule_id)
        if opening is not None and opening > now:
            later.append((execution_id, opening.isoformat()))
    if later:
        overlaps.delay(later)
    return {execution_id for execution_id, _ in later}


def _opening(schedule: Schedule, *, now: datetime) -> datetime | None:
    """When it may run next; None if always, or if its window or calendar makes no sense.

    The dispatcher disables such a schedule at its next fire. What waited goes on: an error here
    would keep back what waits for all the others.
    """
    try:
        openings = coming_rows.openings(schedule)
        opening = None if openings is None else openings.next_opening(now)
    except Exception:
        logger.exception("Schedule %r has a window that makes no sense", schedule.name)
        return None
    return opening


def _lock(schedule_ids: Sequence[UUID]) -> None:
    rows = Schedule.objects.filter(id__in=schedule_ids).order_by("id")
    list(rows.select_for_update().values_list("id"))
