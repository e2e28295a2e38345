"""A request that arrives many times at once is begun by one."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from uuid import UUID

import pytest
from django.db import connection

from executions_app import idempotency
from executions_app.idempotency import InProgress, Replay
from tests.factories import UserFactory

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SENDERS = 8


def begin(user_id: int) -> UUID | Replay:
    return idempotency.begin(
        user_id=user_id, key="k", request="POST /somewhere", body_hash="h", now=NOW
    )


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_begins_and_the_others_are_told_to_wait() -> None:
    user_id, together = UserFactory.create().pk, Barrier(SENDERS)

    def send(_number: int) -> str:
        together.wait()
        try:
            return type(begin(user_id)).__name__
        except InProgress:
            return "told to wait"
        finally:
            connection.close()

    with ThreadPoolExecutor(SENDERS) as senders:
        outcomes = Counter(senders.map(send, range(SENDERS)))

    assert outcomes == {"UUID": 1, "told to wait": SENDERS - 1}


@pytest.mark.django_db
def test_the_answer_is_given_again_as_it_was() -> None:
    user_id = UserFactory.create().pk
    memory = begin(user_id)
    assert isinstance(memory, UUID)

    idempotency.finish(memory, status=202, headers={"Location": "/there"}, body={"n": [1, None]})

    assert begin(user_id) == Replay(202, {"Location": "/there"}, {"n": [1, None]})


@pytest.mark.django_db
def test_an_answer_that_was_given_is_not_forgotten() -> None:
    user_id = UserFactory.create().pk
    memory = begin(user_id)
    assert isinstance(memory, UUID)
    idempotency.finish(memory, status=200, headers={}, body=None)

    idempotency.forget(memory)

    assert begin(user_id) == Replay(200, {}, None)
