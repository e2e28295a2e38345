"""One look, before a beat does anything: what is there to do, and how long until there is more.

It costs a few index probes whether a thousand schedules exist or a million.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from executions_app import prepared
from executions_app.states import Priority

FIRST_FIRES: Final = ", ".join(
    f"""(SELECT min(next_run_at) FROM task_schedules
         WHERE enabled AND priority = '{one}' AND next_run_at IS NOT NULL)"""  # noqa: S608
    for one in Priority
)
LOOK: Final = f"""
SELECT scheduler_running,
    extract(epoch FROM least({FIRST_FIRES}) - now())::float8,
    extract(epoch FROM (
        SELECT min(due_at) FROM task_executions WHERE status = 'pending' AND held_by = ''
            AND (attempt = 0 OR error_recovery_running)
    ) - now())::float8,
    (SELECT id FROM outcome_inbox ORDER BY id LIMIT 1) IS NOT NULL
FROM system_state
"""  # noqa: S608  composed of constants of this module only


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a beat sees at one instant, by PostgreSQL's clock; seconds, negative when overdue."""

    is_running: bool
    until_fire: float | None
    until_release: float | None
    has_outcomes: bool

    @property
    def until_due(self) -> float | None:
        """How long until something may be dispatched, at least 0; None if nothing is to come."""
        known = [one for one in (self.until_fire, self.until_release) if one is not None]
        return max(0.0, min(known)) if known and self.is_running else None

    @property
    def is_due(self) -> bool:
        return self.until_due == 0.0


def look() -> Outlook:
    """What there is to do now; raises RuntimeError if the row of the system's state is missing."""
    row = prepared.execute(LOOK).fetchone()
    if row is None:
        raise RuntimeError("The row of the system's state is missing; run `manage.py migrate`")
    return Outlook(*row)
