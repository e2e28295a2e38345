"""What is done to executions: queued where no limit stands, and ended as the runner ends many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from executions_app import holding, lifecycle, waiting
from executions_app.holding import Limited
from executions_app.ledger import Claimed, Leave
from executions_app.outbox import Message
from executions_app.states import LostRace, Outcome

NO_LIMITS: Final = Limited(are_all=False, queues=(), task_types=(), are_keyed=False, own="false")


def complete(claimed: Claimed, *, output: Any, outcome: Outcome = Outcome.OK) -> None:
    """Record the one good outcome; raises LostRace if the lease is gone."""
    _leave(lifecycle.completion(claimed, output=output, outcome=outcome))


def cancelled(claimed: Claimed) -> None:
    """Record that it stopped because it was asked to; raises LostRace if the lease is gone."""
    _leave(lifecycle.cancellation(claimed))


def hand_back(claimed: Claimed) -> None:
    """Return it unstarted; raises LostRace if the lease is gone."""
    _leave(lifecycle.return_unstarted(claimed))


def ask(claimed: Claimed) -> None:
    """Let it wait for a person; raises LostRace if it does not."""
    if waiting.ask(claimed) is None:
        raise LostRace("The lease of this execution is gone, or it was asked to stop")


def queue_due(*, limit: int, ids: Sequence[UUID] | None = None) -> list[tuple[Message, int]]:
    """Queue what is due, each with the attempts made so far, as if there were no limits."""
    due = holding.release(NO_LIMITS, limit=limit, ids=ids)
    return [(one.message(), one.attempt) for one in due]


def _leave(move: Leave) -> None:
    (problem,) = lifecycle.leave_all([move])
    if problem:
        raise problem
