"""How recovery stands as a whole: failed attempts by state and severity, and the next retry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min, QuerySet

from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import Severity
from executions_app.models import SystemState
from executions_app.states import RecoveryStatus


@dataclass(frozen=True, slots=True)
class RecoveryState:
    """Counts have every known state and severity, also those of which there are none."""

    running: bool
    by_status: dict[str, int]
    by_severity: dict[str, int]
    open_dead_letters: int
    next_retry_at: datetime | None
    last_run_at: datetime | None


def read(errors: QuerySet[ErrorRecord], letters: QuerySet[DeadLetter]) -> RecoveryState:
    """The state of recovery over these rows, in three statements."""
    system = SystemState.objects.get()
    by_status = {one.value: 0 for one in RecoveryStatus}
    by_severity = {one.value: 0 for one in Severity}
    retries: list[datetime] = []
    counted = errors.order_by().values("recovery_status", "severity")
    for row in counted.annotate(number=Count("id"), first_retry=Min("retry_at")):
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
    )
