"""One look, before a beat does anything: what is there to do, and how long until there is more.

It costs a few index probes whether a thousand schedules exist or a million.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from executions_app import prepared
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


def look() -> Outlook:
    """What there is to do now; raises RuntimeError if the row of the system's state is missing."""
    row = prepared.execute(LOOK).fetchone()
    if row is None:
        raise RuntimeError("The row of the system's state is missing; run `manage.py migrate`")
    return Outlook(*row)
