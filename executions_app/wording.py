"""Puts instants and states into words: why an execution is where it is, for people who ask.

Commands, the admin and the pages show what stands here. Pure: no clock, no query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from executions_app.models import Execution
from executions_app.states import ExecutionStatus, Outcome

HELD: Final = {
    "limit": "Waits for room under the limit {key!r}",
    "rate": "Waits for its turn under the rate of {key!r}",
    "overlap": "Waits until the other executions of its schedule have ended",
    "unique": "Waits until the execution that it replaces has ended (unique key {key!r})",
}
UNAPPROVED: Final[dict[str, str]] = {
    Outcome.REJECTED: "A person rejected its plan",
    Outcome.EXPIRED: "Nobody approved its plan in time; it was given up",
}
UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration(length: timedelta) -> str:
    """Its largest unit, or the two largest up to hours: `950 ms`, `42 s`, `3 h 5 min`, `2 d`."""
    if length < timedelta(seconds=1):
        return f"{length // timedelta(milliseconds=1)} ms"
    seconds = int(length.total_seconds())
    parts = []
    for unit, size in UNITS:
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:1] if parts[0].endswith(" d") and len(parts) > 2 else parts[:2])


def relative(instant: datetime, *, now: datetime) -> str:
    """`in 3 min`, `42 s ago` or `now`."""
    away = instant - now
    if abs(away) < timedelta(seconds=1):
        return "now"
    return f"in {duration(away)}" if away > timedelta() else f"{duration(-away)} ago"


def iso(instant: datetime) -> str:
    """UTC in ISO 8601 to the second: `2026-12-01T09:00:00Z`."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(instant: datetime | None, *, now: datetime) -> str:
    """The instant in UTC and how far it is: `2026-12-01T09:00:00Z (in 3 min)`; `-` for none."""
    return "-" if instant is None else f"{iso(instant)} ({relative(instant, now=now)})"


def usage(took: Mapping[str, float]) -> str:
    """What an attempt took: `40 ms of processor, 88 MB at most, 0.0 MB read, 1.5 MB written`."""
    megabytes = {name: took[name] / 1024 for name in ("peak_memory_kb", "read_kb", "written_kb")}
    return (
        f"{duration(timedelta(milliseconds=took['cpu_ms']))} of processor, "
        f"{megabytes['peak_memory_kb']:.0f} MB at most, "
        f"{megabytes['read_kb']:.1f} MB read, {megabytes['written_kb']:.1f} MB written"
    )


def percent(execution: Execution) -> int | None:
    """How far it is, from 0 to 100; None while it has told nothing."""
    total = execution.progress.get("total")
    if execution.status == ExecutionStatus.COMPLETED:
        return 100
    if not total:
        return None
    return max(0, min(100, int(100 * execution.progress.get("done", 0) / total)))


def why(execution: Execution, *, now: datetime) -> str:
    """One or two sentences on why the execution is in its state and what happens next."""
    return WHY[ExecutionStatus(execution.status)](execution, now)


def _why_pending(execution: Execution, now: datetime) -> str:
    if execution.held_by:
        return _why_held(execution.held_by)
    due = f"due {moment(execution.due_at, now=now)}"
    if execution.attempt:
        return (
            f"Attempt {_attempts(execution)} ended ({execution.outcome or 'requeued'}); "
            f"the next is {due}."
        )
    if execution.due_at > now:
        return f"Not queued yet: {due}."
    return f"It is {due} and is queued by the next round, unless the scheduler is stopped."


def _why_held(held_by: str) -> str:
    kind, _, key = held_by.partition(":")
    words = HELD.get(kind, "Waits for {key!r}")
    return f"{words.format(key=key)}; it is looked at again every round."


def _why_queued(execution: Execution, now: datetime) -> str:
    since = moment(execution.queued_at, now=now)
    if execution.published_at is None:
        return f"Queued since {since}; its message to the workers is still to be sent."
    return f"Stands in queue {execution.queue!r} since {since}, until a worker is free."


def _why_running(execution: Execution, now: datetime) -> str:
    words = (
        f"Attempt {_attempts(execution)} runs on worker {execution.worker_id!r} "
        f"since {moment(execution.started_at, now=now)}."
    )
    if execution.lease_expires_at is not None and execution.lease_expires_at < now:
        words += " The worker stopped renewing its lease; the rescuer takes it next."
    elif execution.cancel_requested_at is not None:
        words += f" It was asked to stop at {moment(execution.cancel_requested_at, now=now)}."
    return words


def _why_waiting(_execution: Execution, _now: datetime) -> str:
    return "Waits for a person to approve its plan; no worker and no room is held meanwhile."


def _why_completed(execution: Execution, now: datetime) -> str:
    partly = " in part" if execution.outcome == Outcome.PARTIAL else ""
    return (
        f"Completed{partly} {moment(execution.completed_at, now=now)}{_took(execution)}, "
        f"in attempt {_attempts(execution)}."
    )


def _why_failed(execution: Execution, now: datetime) -> str:
    if execution.outcome in UNAPPROVED:
        return f"{UNAPPROVED[execution.outcome]} {moment(execution.completed_at, now=now)}."
    words = (
        f"Given up {moment(execution.completed_at, now=now)} after attempt "
        f"{_attempts(execution)} ({execution.outcome})."
    )
    if execution.discarded_at is not None:
        return f"{words} A person discarded it {relative(execution.discarded_at, now=now)}."
    if execution.dead_letter_at is not None:
        return f"{words} It stands in the dead letters, to be requeued or discarded."
    return words


def _why_cancelled(execution: Execution, now: datetime) -> str:
    ended = moment(execution.completed_at, now=now)
    if execution.outcome == Outcome.EXPIRED:
        return f"Expired {ended}: it waited longer than it may."
    if execution.started_at is None:
        return f"Cancelled {ended} before it started."
    return f"Cancelled {ended}, in attempt {_attempts(execution)}."


def _attempts(execution: Execution) -> str:
    return f"{execution.attempt} of {execution.max_attempts}"


def _took(execution: Execution) -> str:
    if execution.started_at is None or execution.completed_at is None:
        return ""
    return f" after {duration(execution.completed_at - execution.started_at)}"


WHY: Final[dict[ExecutionStatus, Callable[[Execution, datetime], str]]] = {
    ExecutionStatus.PENDING: _why_pending,
    ExecutionStatus.QUEUED: _why_queued,
    ExecutionStatus.RUNNING: _why_running,
    ExecutionStatus.WAITING: _why_waiting,
    ExecutionStatus.COMPLETED: _why_completed,
    ExecutionStatus.FAILED: _why_failed,
    ExecutionStatus.CANCELLED: _why_cancelled,
}
