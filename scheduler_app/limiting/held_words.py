"""Why an execution is where it is, with the numbers of the limits that hold it back just now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from executions_app import holding, wording
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app.limiting import limits_in_force, rates
from scheduler_app.limiting.limits_in_force import Allowance, Rate

COUNTED_TO: Final = 10_000
BY_LIMITS: Final = ("limit:", "rate:")


def why(execution: Execution, *, now: datetime) -> str:
    """As `wording.why`; of what waits for room it says which limit is used up, and by how many."""
    is_held = execution.held_by.startswith(BY_LIMITS)
    if execution.status != ExecutionStatus.PENDING or not is_held:
        return wording.why(execution, now=now)
    lacking = "; ".join(_lacking(execution))
    if not lacking:
        return "Waits: there is room for it by now, and the next round may take it."
    return f"Waits: {lacking}."


def _lacking(execution: Execution) -> Iterator[str]:
    for one in _limits_over(execution):
        name = one.key.removeprefix("key:")
        if one.most is not None:
            kind, _, value = one.key.partition(":")
            number = holding.active(kind, {one.key: (value, COUNTED_TO)})[one.key]
            if number >= one.most:
                yield f"limit {name} is {one.most}, {number} {_are(number)} queued or running"
        if one.rate is not None:
            left = rates.tokens({one.key: one.rate})[one.key]
            if rates.whole(left) < 1:
                yield f"{_rate(name, one.rate)}, the next is due in {_until_next(left, one.rate)}"


def _limits_over(execution: Execution) -> list[Allowance]:
    schedule_id = str(execution.schedule_id) if execution.schedule_id else None
    own = limits_in_force.own_limits([schedule_id] if schedule_id else [])
    config = execution.snapshot.get("task_config") or {}
    return limits_in_force.now().over(
        limits_in_force.Properties(
            queue=execution.queue,
            limit_key=execution.limit_key,
            schedule_id=schedule_id,
            task_type=str(execution.snapshot.get("task_type")),
            agent=config.get("agent"),
        ),
        own=own.get(schedule_id or ""),
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _rate(name: str, rate: Rate) -> str:
    period = wording.duration(timedelta(milliseconds=rate.period_ms))
    return f"{name} may start {rate.count} in {period}"


def _until_next(left: float, rate: Rate) -> str:
    return wording.duration(timedelta(milliseconds=(1 - left) * rate.period_ms / rate.count))
