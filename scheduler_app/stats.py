"""How the executions of one schedule have gone: its counters, which the drawn outcomes move."""

from __future__ import annotations

from typing import Any

from scheduler_app.models import Schedule


def of(schedule: Schedule) -> dict[str, Any]:
    """The REST object of its statistics; the mean is of what completed or failed."""
    judged = schedule.success_count + schedule.failure_count
    return {
        "schedule_id": schedule.id,
        "runs": schedule.run_count,
        "successes": schedule.success_count,
        "failures": schedule.failure_count,
        "cancellations": schedule.run_count - judged,
        "mean_duration_ms": round(schedule.total_duration_ms / judged) if judged else None,
        "last_status": schedule.last_status or None,
        "last_success_at": schedule.last_success_at,
        "consecutive_failures": schedule.consecutive_failures,
    }
