"""One look, before a beat does anything: what is there to do, and how long until there is more.

It costs a few index probes whether a thousand schedules exist or a million. Once a second a second
look asks what may wait so long: each of these chores has an index of what is to be done, mostly an
empty one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from executions_app import prepared
from executions_app.database_errors import is_away
from executions_app.states import Priority
from scheduler_app.ahead import Ahead

FIRST_FIRES: Final = ", ".join(
    f"""(SELECT min(next_run_at) FROM task_schedules
         WHERE enabled AND priority = '{one}' AND next_run_at IS NOT NULL)"""  # noqa: S608
    for one in Priority
)
# What waits for others of its schedule is let go by their ends.
HELD_BY_LIMIT, HELD_BY_RATE, HELD_BY_KEY = (
    f"""(SELECT id FROM task_executions WHERE status = 'pending' AND held_by <> ''
            AND held_by ~>=~ '{kind}:' AND held_by ~<~ '{kind};'
         ORDER BY held_by USING ~<~ LIMIT 1) IS NOT NULL"""  # noqa: S608
    for kind in ("limit", "rate", "unique")
)
LOOK: Final = f"""
SELECT scheduler_running, now(), least({FIRST_FIRES}),
    (SELECT min(due_at) FROM task_executions WHERE status = 'pending' AND held_by = ''
        AND (attempt = 0 OR error_recovery_running)),
    (SELECT id FROM outcome_inbox ORDER BY id LIMIT 1) IS NOT NULL,
    {HELD_BY_LIMIT} OR {HELD_BY_RATE},
    (SELECT schedule_id FROM event_listeners ORDER BY schedule_id LIMIT 1) IS NOT NULL,
    {HELD_BY_KEY}
FROM system_state
"""  # noqa: S608  composed of constants of this module only
CHORES: Final = """
SELECT
    (SELECT id FROM task_executions
     WHERE status IN ('pending', 'queued') AND expires_at <= now() AND attempt = 0
     ORDER BY expires_at LIMIT 1) IS NOT NULL,
    (SELECT id FROM task_schedules
     WHERE enabled AND paused_at IS NOT NULL AND paused_until <= now()
     ORDER BY paused_until LIMIT 1) IS NOT NULL,
    (SELECT id FROM backfills WHERE status = 'running' LIMIT 1) IS NOT NULL,
    (SELECT id FROM bulk_operations WHERE status = 'running' LIMIT 1) IS NOT NULL,
    (SELECT id FROM task_executions WHERE status = 'queued' AND published_at IS NULL
     ORDER BY published_at LIMIT 1) IS NOT NULL
    OR (SELECT id FROM task_executions
        WHERE status = 'queued' AND published_at < now() - %s * interval '1 second'
        ORDER BY published_at LIMIT 1) IS NOT NULL,
    (SELECT id FROM cycles
     WHERE advice IS NOT NULL AND decision_id IS NULL AND schedule_id IS NOT NULL
     ORDER BY id LIMIT 1) IS NOT NULL
    OR (SELECT id FROM schedule_decisions
        WHERE status = 'proposed' AND expires_at <= now()
        ORDER BY expires_at LIMIT 1) IS NOT NULL,
    (SELECT id FROM cycles WHERE status = 'running' LIMIT 1) IS NOT NULL
    OR (SELECT id FROM cycles WHERE look_at <= now() AND stage <> 'wait'
        ORDER BY look_at LIMIT 1) IS NOT NULL,
    (SELECT id FROM plan_approvals WHERE status = 'waiting' AND expires_at <= now()
     ORDER BY expires_at LIMIT 1) IS NOT NULL
"""


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a beat sees at one instant, by PostgreSQL's clock."""

    is_running: bool
    now: datetime
    first_fire_at: datetime | None
    first_release_at: datetime | None
    has_outcomes: bool
    has_held: bool
    has_listeners: bool
    has_held_by_key: bool

    def until_due(self, ahead: Ahead) -> float | None:
        """Seconds until something may be dispatched, at least 0; None if nothing is to come.

        Fires may be `ahead` of their instant, releases are not.
        """
        if not self.is_running:
            return None
        known = []
        if self.first_fire_at is not None:
            known.append(ahead.seconds_until(self.first_fire_at, now=self.now))
        if self.first_release_at is not None:
            known.append(max(0.0, (self.first_release_at - self.now).total_seconds()))
        return min(known, default=None)


@dataclass(frozen=True, slots=True)
class Chores:
    """What there is to do of the duties that a beat has once a second."""

    has_expired: bool = False
    has_pauses_over: bool = False
    has_backfills: bool = False
    has_bulk: bool = False
    has_unsent: bool = False
    has_advice: bool = False
    has_cycles: bool = False
    has_late_plans: bool = False


EVERYTHING: Final = Chores(*[True] * len(fields(Chores)))


def look() -> Outlook:
    """What there is to do now; raises RuntimeError if the row of the system's state is missing."""
    row = prepared.execute(LOOK).fetchone()
    if row is None:
        raise RuntimeError("The row of the system's state is missing; run `manage.py migrate`")
    return Outlook(*row)


def chores(*, unsent_after_seconds: float) -> Chores:
    """What there is to do besides; a message counts as lost after so long at the earliest.

    Where it cannot be seen, all of it: one chore that cannot be looked for stops no other.
    """
    try:
        row = prepared.execute(CHORES, [unsent_after_seconds]).fetchone()
    except Exception as error:
        if is_away(error):
            raise
        logger.exception("A beat cannot see what there is to do; it tries everything")
        return EVERYTHING
    assert row is not None  # a SELECT without FROM has one row
    return Chores(*row)
