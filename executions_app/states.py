"""Every state an execution, a step, an error or an incident can be in, and every move between.

This is the whole of each state machine on one screen: `docs/state_machines.md` draws what
stands here and a test compares the two. Modules elsewhere only ever ask `check`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class SchedulerException(Exception):
    """Base of what Cadenza raises on purpose; `context` holds identifiers, never secrets."""

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.context = context


class IllegalMove(SchedulerException):
    """The machine has no arrow from the state seen to the state wanted. Nothing was changed."""


class LostRace(SchedulerException):
    """A guarded update changed no row: somebody else moved it first. Walk away, write nothing."""


class ExecutionStatus(StrEnum):
    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """Why an execution stands where it stands; empty while nothing has been decided."""

    OK = "ok"
    PARTIAL = "partial"
    DEGRADED = "degraded"  # ended well, by a plan that no model has made for it
    ERROR = "error"
    TIMEOUT = "timeout"
    LOST = "lost"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"  # a person did not approve the plan


class Trigger(StrEnum):
    TIME = "time"
    MANUAL = "manual"
    EVENT = "event"
    DEPENDENCY = "dependency"
    BACKFILL = "backfill"
    API = "api"


class Priority(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class RecoveryStatus(StrEnum):
    PENDING = "pending"
    RETRY_SCHEDULED = "retry_scheduled"
    RETRYING = "retrying"
    RESOLVED = "resolved"
    IGNORED = "ignored"
    ESCALATED = "escalated"


class BulkStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    ABORTED = "aborted"
    FAILED = "failed"


class IncidentStatus(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    IGNORED = "ignored"
    RESOLVED = "resolved"


class BreakerStatus(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class AlertStatus(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


class NoticeStatus(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


class DecisionStatus(StrEnum):
    """Of what an AI proposes for its schedule; `recorded`: in shadow, nobody acts on it."""

    RECORDED = "recorded"
    PROPOSED = "proposed"
    ADOPTED = "adopted"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    REVERTED = "reverted"


class ApprovalStatus(StrEnum):
    """Of a plan that a person is asked about; `withdrawn`: its execution has ended meanwhile."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class SystemStatus(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    ERROR = "error"


NOUNS: Final[dict[type[StrEnum], str]] = {
    ExecutionStatus: "The execution",
    StepStatus: "The step",
    RecoveryStatus: "The error",
    BreakerStatus: "The breaker",
    IncidentStatus: "The incident",
    AlertStatus: "The alert",
    NoticeStatus: "The notice",
    SystemStatus: "The system",
    BulkStatus: "The bulk operation",
    DecisionStatus: "The decision",
    ApprovalStatus: "The plan",
}

E, S, R = ExecutionStatus, StepStatus, RecoveryStatus
N, B, D = IncidentStatus, BreakerStatus, DecisionStatus

TERMINAL: Final = frozenset({E.COMPLETED, E.FAILED, E.CANCELLED})
ACTIVE: Final = frozenset(E) - TERMINAL

TRANSITIONS: Final[dict[type[StrEnum], dict[StrEnum, frozenset[StrEnum]]]] = {
    ExecutionStatus: {
        E.PENDING: frozenset({E.QUEUED, E.CANCELLED}),
        E.QUEUED: frozenset({E.RUNNING, E.CANCELLED}),
        E.RUNNING: frozenset(
            {E.COMPLETED, E.FAILED, E.CANCELLED, E.PENDING, E.QUEUED, E.WAITING},
        ),
        E.WAITING: frozenset({E.PENDING, E.FAILED, E.CANCELLED}),
        E.COMPLETED: frozenset(),
        E.FAILED: frozenset({E.PENDING}),
        E.CANCELLED: frozenset(),
    },
    StepStatus: {
        S.PLANNED: frozenset({S.QUEUED, S.SKIPPED, S.CANCELLED}),
        S.QUEUED: frozenset({S.RUNNING, S.SKIPPED, S.CANCELLED}),
        S.RUNNING: frozenset({S.COMPLETED, S.FAILED, S.CANCELLED, S.QUEUED}),
        S.COMPLETED: frozenset(),
        S.FAILED: frozenset({S.PLANNED}),
        S.SKIPPED: frozenset({S.PLANNED}),
        S.CANCELLED: frozenset({S.PLANNED}),
    },
    RecoveryStatus: {
        R.PENDING: frozenset({R.RETRY_SCHEDULED, R.RETRYING, R.RESOLVED, R.IGNORED, R.ESCALATED}),
        R.RETRY_SCHEDULED: frozenset({R.RETRYING, R.RESOLVED, R.IGNORED, R.ESCALATED}),
        R.RETRYING: frozenset({R.RESOLVED, R.RETRY_SCHEDULED, R.ESCALATED, R.IGNORED}),
        R.ESCALATED: frozenset({R.RETRYING, R.RESOLVED, R.IGNORED}),
        R.IGNORED: frozenset(),
        R.RESOLVED: frozenset(),
    },
    IncidentStatus: {
        N.OPEN: frozenset({N.ACKNOWLEDGED, N.IGNORED, N.RESOLVED}),
        N.ACKNOWLEDGED: frozenset({N.IGNORED, N.RESOLVED}),
        N.IGNORED: frozenset({N.ACKNOWLEDGED, N.RESOLVED}),
        N.RESOLVED: frozenset({N.OPEN, N.IGNORED}),
    },
    BreakerStatus: {
        B.CLOSED: frozenset({B.OPEN}),
        B.OPEN: frozenset({B.HALF_OPEN, B.CLOSED}),
        B.HALF_OPEN: frozenset({B.OPEN, B.CLOSED}),
    },
    AlertStatus: {
        AlertStatus.FIRING: frozenset({AlertStatus.RESOLVED}),
        AlertStatus.RESOLVED: frozenset(),
    },
    NoticeStatus: {
        NoticeStatus.PENDING: frozenset({NoticeStatus.SENT, NoticeStatus.FAILED}),
        NoticeStatus.SENT: frozenset(),
        NoticeStatus.FAILED: frozenset(),
    },
    DecisionStatus: {
        D.RECORDED: frozenset(),
        D.PROPOSED: frozenset({D.ADOPTED, D.REFUSED, D.SUPERSEDED, D.EXPIRED}),
        D.ADOPTED: frozenset({D.REVERTED}),
        D.REFUSED: frozenset(),
        D.SUPERSEDED: frozenset(),
        D.EXPIRED: frozenset(),
        D.REVERTED: frozenset(),
    },
    ApprovalStatus: {
        ApprovalStatus.WAITING: frozenset(ApprovalStatus) - {ApprovalStatus.WAITING},
        ApprovalStatus.APPROVED: frozenset(),
        ApprovalStatus.REJECTED: frozenset(),
        ApprovalStatus.EXPIRED: frozenset(),
        ApprovalStatus.WITHDRAWN: frozenset(),
    },
    SystemStatus: {one: frozenset(SystemStatus) - {one} for one in SystemStatus},
    BulkStatus: {
        BulkStatus.RUNNING: frozenset(
            {BulkStatus.COMPLETED, BulkStatus.ABORTED, BulkStatus.FAILED},
        ),
        BulkStatus.COMPLETED: frozenset(),
        BulkStatus.ABORTED: frozenset(),
        BulkStatus.FAILED: frozenset(),
    },
}


def is_legal(source: StrEnum, target: StrEnum) -> bool:
    """True if the machine of `source` has an arrow to `target`."""
    return target in TRANSITIONS[type(source)][source]


def check(source: StrEnum, target: StrEnum) -> None:
    """Raise IllegalMove unless the machine has an arrow from `source` to `target`."""
    if not is_legal(source, target):
        raise IllegalMove(
            f"{NOUNS[type(source)]} cannot move from {source.value!r} to {target.value!r}",
            source=source.value,
            target=target.value,
        )
