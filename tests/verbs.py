"""The ends of one claimed execution, as the runner brings them about for many."""

from __future__ import annotations

from typing import Any

from executions_app import lifecycle
from executions_app.ledger import Claimed, Leave
from executions_app.states import Outcome


def complete(claimed: Claimed, *, output: Any, outcome: Outcome = Outcome.OK) -> None:
    """Record the one good outcome; raises LostRace if the lease is gone."""
    _leave(lifecycle.completion(claimed, output=output, outcome=outcome))


def cancelled(claimed: Claimed) -> None:
    """Record that it stopped because it was asked to; raises LostRace if the lease is gone."""
    _leave(lifecycle.cancellation(claimed))


def hand_back(claimed: Claimed) -> None:
    """Return it unstarted; raises LostRace if the lease is gone."""
    _leave(lifecycle.return_unstarted(claimed))


def _leave(move: Leave) -> None:
    (problem,) = lifecycle.leave_all([move])
    if problem:
        raise problem
