"""What must have come of schedules that fire at a fixed pace, however badly they were treated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from scheduler_app.models import FireRecord, Schedule
from tests.faults.test_beats import grid


def wrong_fires(of: Sequence[Schedule], *, until: datetime) -> Iterator[str]:
    """Fires that are not at anchor + k times the length, each once, each dispatched.

    Up to `until` none may be missing; those that came later belong to it as well.
    """
    for one in of:
        records = FireRecord.objects.filter(schedule_id=one.id).order_by("nominal_at")
        seen = list(records.values_list("nominal_at", flat=True))
        wanted = grid(one, max([until, *seen]))
        if seen != wanted or records.exclude(reason="dispatched").exists():
            yield f"{one.name}: {len(seen)} fires are not the {len(wanted)} of its rule"
