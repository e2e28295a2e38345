"""What a worker takes by itself: what Celery would have taken next, and not more than its share."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
import redis

from agents_app import backlog
from scheduler_app import envelopes, queues

Queues = list[str]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Queues:
    """Two queues of this test, the first before the second, read by this process."""
    names = [f"first-{uuid4()}", f"second-{uuid4()}"]
    monkeypatch.setattr(backlog._Found, "queues", names)
    monkeypatch.setattr(backlog._Found, "nothing_until", float("-inf"))
    return names


def send(queue: str, *slices: Sequence[UUID], predicted_ms: float | None = None) -> None:
    work = [predicted_ms] * len(slices)
    queues.broker().lpush(queue, *envelopes.build(slices, queue=queue, predicted_ms=work))


def some(count: int) -> list[list[UUID]]:
    return [[uuid4()] for _ in range(count)]


def flat(slices: Sequence[Sequence[UUID]]) -> list[UUID]:
    return [one for slice_ in slices for one in slice_]


def test_short_ones_are_taken_together_oldest_first_and_half_is_left_to_others(
    names: Queues,
) -> None:
    sent = some(10)
    send(names[0], *sent, predicted_ms=1.0)

    assert backlog.take() == flat(sent[:5])
    assert backlog.take() == flat(sent[5:8])


def test_no_more_is_taken_together_than_fifty_milliseconds_of_work(names: Queues) -> None:
    sent = some(20)
    send(names[0], *sent, predicted_ms=20.0)

    assert backlog.take() == flat(sent[:2])


def test_a_slice_that_is_full_comes_alone(names: Queues) -> None:
    full = [uuid4() for _ in range(100)]
    send(names[0], full, predicted_ms=60.0)
    send(names[0], *some(5), predicted_ms=1.0)

    assert backlog.take() == full


def test_what_nobody_can_predict_travels_alone(names: Queues) -> None:
    unknown, short = some(1), some(9)
    send(names[0], *unknown)
    send(names[0], *short, predicted_ms=1.0)

    assert backlog.take() == unknown[0]
    assert len(backlog.take()) == 5


def test_the_unpredicted_go_to_as_many_free_threads_as_there_are(names: Queues) -> None:
    sent = some(20)
    send(names[0], *sent)

    assert backlog.take_apart(most=4) == flat(sent[:4])
    assert backlog.take_apart(most=100) == flat(sent[4:12])


def test_threads_get_none_of_those_that_travel_together(names: Queues) -> None:
    send(names[0], *some(4), predicted_ms=1.0)

    assert backlog.take_apart(most=4) == []
    assert len(backlog.take()) == 2


def test_the_second_queue_is_not_looked_at_while_the_first_holds_anything(names: Queues) -> None:
    first, second = some(1), some(1)
    send(names[1], *second, predicted_ms=1.0)
    send(names[0], *first, predicted_ms=1.0)

    assert backlog.take() == first[0]
    assert backlog.take() == second[0]


def test_a_message_that_is_not_ours_is_left_to_celery(names: Queues) -> None:
    foreign = b'{"headers": {"task": "cadenza.close_stale_sessions"}}'
    queues.broker().lpush(names[0], foreign)
    send(names[0], *some(3), predicted_ms=1.0)

    assert backlog.take() == []
    assert queues.broker().llen(names[0]) == 4


def test_a_message_that_cannot_be_read_costs_only_itself(names: Queues) -> None:
    sent = some(3)
    torn = b'{"body": "%%%", "headers": {"task": "cadenza.run", "predicted_ms": 1.0}}'
    queues.broker().lpush(names[0], torn)
    send(names[0], *sent, predicted_ms=1.0)

    assert backlog.take() == sent[0]


def test_after_nothing_was_found_redis_is_left_alone_for_a_moment(names: Queues) -> None:
    assert backlog.take() == []

    send(names[0], *some(2), predicted_ms=1.0)

    assert backlog.take() == []


def test_a_redis_that_is_away_has_no_messages(
    names: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = redis.Redis(port=1, socket_connect_timeout=1).register_script(backlog.TAKE)
    monkeypatch.setattr(backlog, "_script", lambda: nobody)

    assert backlog.take() == []


def test_outside_a_worker_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog._Found, "nothing_until", float("-inf"))

    assert backlog.take() == []
