"""Every move of a step, one verb each: the calls that one execution of an agent is made of.

With `lifecycle` the only writer of steps. A step is claimed like an execution, by whoever carries
it out, under a lease of its own; what ended well is never begun again, whatever happens to its
execution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from config.env import env
from executions_app import prepared, refusals, scrub, step_statements
from executions_app.ledger import Usage
from executions_app.models import Step
from executions_app.states import LostRace, StepStatus, check

MOST_REASON: Final = 500
RESULT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class NewStep:
    """One call of a plan; `wave`: those of one wave may run together, waves one after the other."""

    id: UUID
    position: int
    wave: int
    name: str
    config: Mapping[str, Any]
    depends_on: Sequence[UUID] = ()
    is_critical: bool = False


@dataclass(frozen=True, slots=True)
class HeldStep:
    """A step that this process holds the lease of."""

    id: UUID
    execution_id: UUID
    name: str
    position: int
    wave: int
    config: dict[str, Any]
    is_critical: bool
    attempt: int
    lease_token: UUID
    correlation_id: str = ""  # of its execution


@dataclass(frozen=True, slots=True)
class Overdue:
    """A step whose worker fell silent, or whose message nobody took for a while."""

    id: UUID
    execution_id: UUID
    status: str
    attempt: int
    name: str
    wave: int
    lease_token: UUID | None
    must_not_repeat: (
        bool  # a person said of its endpoint that what may have begun is not begun again
    )


@dataclass(frozen=True, slots=True)
class Unstarted:
    """A step that ended without having begun, and why."""

    id: UUID
    name: str
    wave: int
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """How a step ended; `reason` says why, where it did not go well."""

    status: StepStatus
    result: Any = None
    reason: str = ""
    error_class: str = ""
    usage: Usage | None = None


def plan(execution_id: UUID, new: Sequence[NewStep]) -> None:
    """In the caller's transaction: the steps of a plan, before any of them may run."""
    Step.objects.bulk_create(
        Step(
            id=one.id,
            execution_id=execution_id,
            position=one.position,
            wave=one.wave,
            name=one.name,
            config=dict(one.config),
            depends_on=list(one.depends_on),
            is_critical=one.is_critical,
        )
        for one in new
    )


def queue(execution_id: UUID, chosen: Sequence[UUID]) -> list[UUID]:
    """In the caller's transaction: planned steps may be claimed from now on; answers which."""
    return _ids(step_statements.QUEUE, [execution_id, list(chosen)])


def claim(step_id: UUID, *, cycle_token: UUID, worker_id: str) -> HeldStep | None:
    """Take a queued step to run it; None if it is not to be begun (any more).

    Its execution must run under `cycle_token` and nobody have asked it to stop.
    """
    wanted = [env.lease_seconds, worker_id, step_id, cycle_token]
    row = prepared.execute(step_statements.CLAIM, wanted).fetchone()
    if row is None:
        return None
    values = list(row)
    values[5] = json.loads(values[5])
    return HeldStep(*values)


def renew(leases: Mapping[UUID, UUID]) -> set[UUID]:
    """Extend leases ({token: id}); answers the tokens still held."""
    held = [list(leases.values()), list(leases), env.lease_seconds]
    return set(_ids(step_statements.RENEW, held))


def finish(held: HeldStep, end: End) -> None:
    """In the caller's transaction: the one end of a running step; raises LostRace."""
    check(StepStatus.RUNNING, end.status)
    result = None
    if end.result is not None:
        result, _ = scrub.storable_json(end.result, max_bytes=RESULT_BYTES)
    reason = scrub.scrub(scrub.storable_text(end.reason))[:MOST_REASON]
    usage = end.usage and json.dumps(end.usage._asdict())
    changed = [end.status.value, reason, end.error_class, result, usage, held.id, held.lease_token]
    if not _ids(step_statements.FINISH, changed):
        refusals.writes.add()
        raise LostRace("The lease of this step is gone", step_id=held.id)


def hand_back(step_id: UUID, lease_token: UUID, *, reason: str) -> None:
    """In the caller's transaction: a running step to its queue, for others; raises LostRace."""
    if not _ids(step_statements.HAND_BACK, [reason, step_id, lease_token]):
        refusals.writes.add()
        raise LostRace("The lease of this step is gone", step_id=step_id)


def end_unstarted(
    execution_id: UUID, reasons: Mapping[UUID, str], *, status: StepStatus
) -> list[Unstarted]:
    """In the caller's transaction: skip or cancel what has not begun ({id: reason})."""
    texts = [one[:MOST_REASON] for one in reasons.values()]
    ended = _rows(step_statements.END, [status.value, list(reasons), texts, execution_id])
    return [Unstarted(*row) for row in ended]


def plan_again(execution_id: UUID) -> list[UUID]:
    """In the caller's transaction: what did not end well is tried anew, with its execution."""
    return _ids(step_statements.PLAN_AGAIN, [execution_id])


def may_have_happened(execution_id: UUID) -> list[str]:
    """The names of its steps that did not end well, and must not be made a second time."""
    return [row[0] for row in _rows(step_statements.MAY_HAVE_HAPPENED, [execution_id])]


def overdue(execution_id: UUID, *, unclaimed_seconds: float) -> list[Overdue]:
    """Its steps that need somebody: their lease expired, or their message may be lost."""
    words = {"execution": execution_id, "late": unclaimed_seconds}
    return [Overdue(*row) for row in _rows(step_statements.OVERDUE, words)]


def send_again(chosen: Sequence[UUID], *, unclaimed_seconds: float) -> list[UUID]:
    """Those of the queued steps whose message the caller is the one to send again."""
    words = {"ids": list(chosen), "late": unclaimed_seconds}
    return _ids(step_statements.SEND_AGAIN, words)


def _ids(statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[UUID]:
    return [row[0] for row in _rows(statement, parameters)]


def _rows(statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
    return prepared.execute(statement, parameters).fetchall()
