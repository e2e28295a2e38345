"""How recovery stands as a whole: failed attempts by state and severity, and the next retry.

What is open is counted whole; of what is closed only the newest, so that a look costs the same
after years.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Min, QuerySet

from errors_app.models import DeadLetter, ErrorRecord
from errors_app.recovery import OPEN
from errors_app.taxonomy import Severity
from executions_app.models import SystemState
from executions_app.states import RecoveryStatus

COUNTED: Final = 10_000  # of the newest, whatever their state


@dataclass(frozen=True, slots=True)
class RecoveryState:
    """Counts have every known state and severity, also those of which there are none."""

    running: bool
    by_status: dict[str, int]
    by_severity: dict[str, int]
    open_dead_letters: int
    next_retry_at: datetime | None
    last_run_at: datetime | None
    is_partial: bool
    """True if there are closed errors beyond the newest COUNTED, which are not in the counts."""


def read(errors: QuerySet[ErrorRecord], letters: QuerySet[DeadLetter]) -> RecoveryState:
    """The state of recovery over these rows, in five small statements."""
    system = SystemState.objects.get()
    by_status = {one.value: 0 for one in RecoveryStatus}
    by_severity = {one.value: 0 for one in Severity}
    retries: list[datetime] = []
    counted, is_partial = _counted(errors)
    for row in counted:
        by_status[row["recovery_status"]] += row["number"]
        by_severity[row["severity"]] += row["number"]
        if row["recovery_status"] == RecoveryStatus.RETRY_SCHEDULED and row["first_retry"]:
            retries.append(row["first_retry"])
    return RecoveryState(
        running=system.error_recovery_running,
        by_status=by_status,
        by_severity=by_severity,
        open_dead_letters=letters.filter(handling="").count(),
        next_retry_at=min(retries, default=None),
        last_run_at=system.error_recovery_last_run_at,
        is_partial=is_partial,
    )


def _counted(errors: QuerySet[ErrorRecord]) -> tuple[list[dict[str, Any]], bool]:
    edge = errors.order_by("-id").values_list("id", flat=True)[COUNTED:].first()
    if edge is None:
        return _by_kind(errors), False
    older = errors.filter(id__lte=edge, recovery_status__in=OPEN)
    return _by_kind(errors.filter(id__gt=edge)) + _by_kind(older), True


def _by_kind(errors: QuerySet[ErrorRecord]) -> list[dict[str, Any]]:
    kinds = errors.order_by().values("recovery_status", "severity")
    return [dict(one) for one in kinds.annotate(number=Count("id"), first_retry=Min("retry_at"))]
