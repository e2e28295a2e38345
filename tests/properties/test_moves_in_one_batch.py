"""Two moves of one execution in one batch: the fence decides between them as it does apart."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User

from executions_app import ledger, lifecycle
from executions_app.ledger import Claim, Claimed, Leave
from executions_app.models import Event, Execution, OutcomeInbox
from executions_app.states import ExecutionStatus
from tests.properties.executions import record_executions

pytestmark = pytest.mark.django_db


@pytest.fixture
def held() -> Claimed:
    ids = record_executions(1, owner=User.objects.create_user("owner"))
    (claimed,) = lifecycle.claim(ids, worker_id="worker-1")
    return claimed


def completion(id_: UUID, *, token: UUID, result: str) -> Leave:
    return Leave(id_, token, ExecutionStatus.COMPLETED, "ok", result=f'"{result}"')


@pytest.mark.parametrize("stale_first", [True, False])
def test_a_late_writer_in_the_batch_of_the_holder_is_refused(
    held: Claimed, stale_first: bool
) -> None:
    holder = completion(held.id, token=held.lease_token, result="the holder's")
    stale = completion(held.id, token=uuid4(), result="somebody else's")
    moves = [stale, holder] if stale_first else [holder, stale]

    answers = ledger.leave(moves)

    assert dict(zip([one.result for one in moves], answers, strict=True)) == {
        holder.result: True,
        stale.result: False,
    }
    assert Execution.objects.get(id=held.id).result == "the holder's"


def test_of_two_moves_with_one_token_in_one_batch_the_first_wins(held: Claimed) -> None:
    done = completion(held.id, token=held.lease_token, result="done")
    back = Leave(held.id, held.lease_token, ExecutionStatus.QUEUED, attempts_back=1)

    answers = ledger.leave([done, back])

    row = Execution.objects.get(id=held.id)
    assert answers == [True, False]
    assert (row.status, row.attempt, row.result) == ("completed", 1, "done")
    assert OutcomeInbox.objects.filter(execution_id=held.id).count() == 1
    told = set(Event.objects.filter(execution_id=held.id).values_list("type", flat=True))
    assert told == {"execution:queued", "execution:started", "execution:completed"}


def test_of_two_equal_moves_in_one_batch_the_first_wins(held: Claimed) -> None:
    moves = [completion(held.id, token=held.lease_token, result="done") for _ in range(2)]

    assert ledger.leave(moves) == [True, False]


def test_of_two_claims_in_one_batch_the_first_gets_the_row_under_its_own_name() -> None:
    (id_,) = record_executions(1, owner=User.objects.create_user("owner"))
    first, second = Claim(id_, "worker-1", slice_size=5), Claim(id_, "worker-2")

    mine, theirs = ledger.claim([first, second], lease_seconds=30)

    assert mine is not None
    assert mine.worker_id == "worker-1"
    assert Execution.objects.get(id=id_).slice_size == 5
    assert theirs is None
