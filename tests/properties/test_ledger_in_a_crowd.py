"""Many threads on the same few executions: whatever they did, the history is a legal one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

import pytest
from django.contrib.auth.models import User

from executions_app.models import Event, OutcomeInbox
from executions_app.states import TERMINAL, ExecutionStatus, is_legal
from tests.faults import invariants
from tests.properties.crowd import Crowd
from tests.properties.executions import record_executions

MEMBERS: Final = 6
ACTS: Final = 80
EXECUTIONS: Final = 4
MOVES: Final = {
    "execution:queued": ExecutionStatus.QUEUED,
    "execution:started": ExecutionStatus.RUNNING,
    "execution:completed": ExecutionStatus.COMPLETED,
    "execution:failed": ExecutionStatus.FAILED,
    "execution:cancelled": ExecutionStatus.CANCELLED,
    "execution:retry_scheduled": ExecutionStatus.PENDING,
    "execution:requeued": ExecutionStatus.PENDING,
    "execution:handed_back": ExecutionStatus.QUEUED,
}
OF_THE_RULES: Final = {
    "I3 attempts that are not errors + completed + cancelled once begun + live",
    "I3 attempts that are not claims without hand-backs",
    "I3 a failed execution without its one open dead letter, or a dead letter of another",
}
TOLD_AS: Final = {
    "complete": {"execution:completed"},
    "fail": {"execution:failed", "execution:retry_scheduled", "execution:cancelled"},
    "stop": {"execution:cancelled"},
    "hand_back": {"execution:handed_back"},
}


def history(execution_id: UUID) -> list[tuple[str, dict[str, Any]]]:
    """The moves of one execution in the order in which they were made.

    An event is written while the row is locked, and the time in its id is that of the writing.
    """
    events = Event.objects.filter(execution_id=execution_id, type__in=MOVES).order_by("id")
    return list(events.values_list("type", "data"))


def illegal(moves: Iterable[str]) -> list[str]:
    """The pairs of neighbours in a history that the machine has no arrow for."""
    states = [MOVES[one] for one in moves]
    return [
        f"{before} -> {after}"
        for before, after in itertools.pairwise(states)
        if not is_legal(before, after)
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_leaves_legal_histories_and_one_winner_of_every_lease(seed: int) -> None:
    owner = User.objects.create_user("owner")
    crowd = Crowd(lambda: record_executions(1, owner=owner)[0], executions=EXECUTIONS)

    crowd.run(members=MEMBERS, acts=ACTS, seed=seed)

    assert crowd.refusals["LostRace"] > 0
    tokens = [one.lease_token for one in crowd.claims]
    winners = [claimed.lease_token for _, claimed in crowd.won]
    assert len(set(tokens)) == len(tokens)
    assert len(set(winners)) == len(winners)
    for id_ in crowd.ids + crowd.ended:
        moves = history(id_)
        assert illegal(type_ for type_, _ in moves) == []
        began = [data["worker"] for type_, data in moves if type_ == "execution:started"]
        assert sorted(began) == sorted(one.worker_id for one in crowd.claims if one.id == id_)
        told = Counter(type_ for type_, _ in moves)
        won = Counter(way for way, claimed in crowd.won if claimed.id == id_)
        for way, types in TOLD_AS.items():
            assert sum(told[one] for one in types) >= won[way]
        assert told["execution:completed"] == won["complete"]
    ends = Event.objects.filter(type__in=[one for one, state in MOVES.items() if state in TERMINAL])
    assert crowd.drawn + OutcomeInbox.objects.count() == ends.count()
    found = invariants.broken()
    assert {rule: found[rule] for rule in found.keys() & OF_THE_RULES} == {}
