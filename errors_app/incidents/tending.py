"""What a beat does about incidents of executions, once a second: one look when there is nothing."""

from __future__ import annotations

from typing import Final

from errors_app.incidents import folding, lately, orphans, recovering
from executions_app import prepared

LOOK: Final = """
SELECT now(),
    (SELECT id FROM error_records WHERE incident_id IS NULL AND id >= %s
     ORDER BY id LIMIT 1) IS NOT NULL,
    coalesce((SELECT recovers_at FROM incidents WHERE recovers_at IS NOT NULL
              ORDER BY recovers_at LIMIT 1) <= now(), false)
"""


def tend_incidents() -> int:
    """Fold errors, then resolve what has recovered, now and then what never can.

    Answers how many errors were folded.

    While errors wait that this call may not fold, or that another beat is at, nothing recovers:
    they may speak against it.
    """
    since = lately.begin()
    seen = prepared.execute(LOOK, [since]).fetchone()
    assert seen is not None  # a SELECT without FROM has one row
    now, has_unfolded, has_recovered = seen
    folded = folding.fold(since=since) if has_unfolded else 0
    has_folded_all = not has_unfolded or 0 < folded < folding.MOST_AT_ONCE
    if not has_unfolded:
        lately.folded(now)
    if has_recovered and has_folded_all:
        recovering.recover_quiet()
    if has_folded_all and orphans.is_time():
        orphans.resolve()
    return folded
