"""How executions share messages: quick ones together, nobody behind a slow one, nobody idle."""

from __future__ import annotations

from uuid import UUID

import pytest

from executions_app.outbox import Message
from scheduler_app import slices
from scheduler_app.prediction import Predictions


def message(number: int, predicted_ms: float | None) -> Message:
    return Message(UUID(int=number), "normal", predicted_ms)


def quick(count: int, *, each_ms: float = 0.0) -> list[Message]:
    return [message(number, each_ms) for number in range(count)]


def sizes(messages: list[Message], **limits: int) -> list[int]:
    return [len(one) for one in slices.cut(messages, **{"idle": 0, **limits})]


def test_quick_executions_share_one_message() -> None:
    assert sizes(quick(200)) == [200]


def test_a_slice_holds_at_most_fifty_milliseconds_of_predicted_work() -> None:
    assert sizes(quick(25, each_ms=10)) == [5, 5, 5, 5, 5]


def test_a_slice_holds_at_most_five_hundred_executions() -> None:
    assert sizes(quick(1_001)) == [500, 500, 1]


def test_what_takes_longer_or_is_unknown_travels_alone() -> None:
    given = [message(1, 1), message(2, None), message(3, 25.1), message(4, 1), message(5, 25)]

    cut = slices.cut(given, idle=0)

    assert [[one.execution_id.int for one in each] for each in cut] == [[1, 4, 5], [2], [3]]


@pytest.mark.parametrize(("count", "idle"), [(10, 3), (3, 8), (1_000, 4), (7, 7)])
def test_nobody_waits_in_a_slice_while_a_worker_is_idle(count: int, idle: int) -> None:
    parts = sizes(quick(count), idle=idle)

    assert sum(parts) == count
    assert len(parts) >= min(count, idle)


def test_the_caller_may_allow_fewer_per_message() -> None:
    assert sizes(quick(3), most=1) == [1, 1, 1]


def test_every_message_travels_exactly_once_and_in_order() -> None:
    given = [message(number, (0, 3, None, 30)[number % 4]) for number in range(100)]

    cut = slices.cut(given, idle=2)

    assert sorted(one.execution_id.int for each in cut for one in each) == list(range(100))
    assert all(each == sorted(each, key=lambda one: one.execution_id) for each in cut)
    assert [each[0].execution_id.int for each in cut] == sorted(
        each[0].execution_id.int for each in cut
    )


def test_nothing_is_known_of_a_task_type_that_never_ran() -> None:
    assert Predictions().of("http_request") is None


def test_one_slow_run_is_remembered_for_a_while_and_then_forgotten() -> None:
    seen = Predictions()
    seen.learn("http_request", mean_ms=1_000, runs=1)

    seen.learn("http_request", mean_ms=1, runs=20)
    soon = seen.of("http_request")
    seen.learn("http_request", mean_ms=1, runs=600)
    later = seen.of("http_request")

    assert soon is not None
    assert later is not None
    assert soon > slices.QUICK_MS > later >= 1


def test_a_task_type_is_predicted_by_the_mean_of_its_runs() -> None:
    seen = Predictions()
    for mean_ms in (3, 1) * 300:
        seen.learn("http_request", mean_ms=mean_ms, runs=1)

    assert seen.of("http_request") == pytest.approx(2, abs=0.1)


def test_a_type_of_which_now_and_then_one_is_very_slow_is_not_quick() -> None:
    seen = Predictions()
    for mean_ms in (*[1] * 19, 1_000) * 30:
        seen.learn("http_request", mean_ms=mean_ms, runs=1)

    assert (seen.of("http_request") or 0) > slices.QUICK_MS


def test_what_one_beat_has_learned_is_known_to_another() -> None:
    one, other = Predictions(), Predictions()
    one.learn("http_request", mean_ms=3, runs=10)

    other.adopt({**one.take_news(), "corrupt": "no number"})

    assert other.of("http_request") == one.of("http_request")
    assert other.of("corrupt") is None
    assert one.take_news() == {}


def test_a_schedule_that_ran_often_speaks_for_itself() -> None:
    seen = Predictions()
    seen.learn("http_request", mean_ms=1_000, runs=1)

    assert seen.of("http_request", own_ms=2.0) == 2.0


def test_an_agent_is_never_predicted() -> None:
    seen = Predictions()
    seen.learn("agent", mean_ms=1, runs=1_000)

    assert seen.of("agent", own_ms=1.0) is None
