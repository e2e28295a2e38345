from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from errors_app.backoff import Jitter, RetryPolicy, Strategy, delay
from errors_app.taxonomy import ErrorClass


def _delay(attempt: int, strategy: Strategy, jitter: Jitter = Jitter.NONE) -> float:
    wait = delay(
        attempt,
        strategy=strategy,
        base_ms=1_000,
        cap_ms=300_000,
        jitter=jitter,
        rng=random.Random(7),
    )
    return wait.total_seconds()


@pytest.mark.parametrize(
    ("strategy", "seconds"),
    [
        (Strategy.EXPONENTIAL, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
        (Strategy.LINEAR, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (Strategy.FIXED, [1] * 11),
    ],
)
def test_each_attempt_waits_as_its_strategy_says(strategy: Strategy, seconds: list[int]) -> None:
    assert [_delay(attempt, strategy) for attempt in range(1, 12)] == seconds


@pytest.mark.parametrize("strategy", [Strategy.EXPONENTIAL, Strategy.LINEAR])
def test_a_huge_attempt_waits_for_the_cap(strategy: Strategy) -> None:
    assert _delay(10**9, strategy) == 300


@given(
    attempt=st.integers(1, 10**6),
    strategy=st.sampled_from(Strategy),
    base_ms=st.integers(1, 10**9),
    cap_ms=st.integers(1, 10**9),
    seed=st.integers(),
)
def test_jitter_draws_between_zero_and_the_wait_without_it(
    attempt: int, strategy: Strategy, base_ms: int, cap_ms: int, seed: int
) -> None:
    def wait(jitter: Jitter) -> timedelta:
        return delay(
            attempt,
            strategy=strategy,
            base_ms=base_ms,
            cap_ms=cap_ms,
            jitter=jitter,
            rng=random.Random(seed),
        )

    assert timedelta() <= wait(Jitter.FULL) <= wait(Jitter.NONE)
    assert wait(Jitter.NONE) <= timedelta(milliseconds=cap_ms)


def test_full_jitter_spreads_what_failed_together() -> None:
    rng = random.Random(7)

    waits = {
        delay(
            5,
            strategy=Strategy.EXPONENTIAL,
            base_ms=1_000,
            cap_ms=300_000,
            jitter=Jitter.FULL,
            rng=rng,
        )
        for _ in range(100)
    }

    assert len(waits) == 100


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        _delay(0, Strategy.FIXED)


def test_a_policy_named_in_part_takes_the_rest_from_the_settings() -> None:
    policy = RetryPolicy.completed({"strategy": "linear"}, max_retries=7, base_ms=50, cap_ms=60)

    assert policy.model_dump(mode="json") == {
        "max_retries": 7,
        "strategy": "linear",
        "base_ms": 50,
        "cap_ms": 60,
        "jitter": "full",
        "retryable_classes": ["transient", "timeout", "lost"],
    }


def test_an_empty_policy_is_the_documented_default() -> None:
    policy = RetryPolicy()

    assert (policy.max_retries, policy.base_ms, policy.cap_ms) == (3, 1_000, 300_000)
    assert ErrorClass.PERMANENT not in policy.retryable_classes


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": 101},
        {"max_retries": -1},
        {"base_ms": 0},
        {"strategy": "fibonacci"},
        {"retryable_classes": ["often"]},
        {"retries": 3},
    ],
)
def test_a_wrong_policy_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RetryPolicy.model_validate(wrong)


def test_an_adaptive_wait_is_exponential_and_stretched_by_what_else_failed_lately() -> None:
    def wait(attempt: int, recent_failures: int) -> float:
        return delay(
            attempt,
            strategy=Strategy.ADAPTIVE,
            base_ms=1_000,
            cap_ms=300_000,
            jitter=Jitter.NONE,
            rng=random.Random(7),
            recent_failures=recent_failures,
        ).total_seconds()

    assert [wait(attempt, 0) for attempt in range(1, 5)] == [1, 2, 4, 8]
    assert [wait(2, failures) for failures in (0, 1, 4, 100)] == [2, 4, 10, 202]
    assert wait(2, 10**9) == wait(10**9, 1) == 300


def test_adaptive_waits_are_spread_and_the_same_for_the_same_seed() -> None:
    def waits(seed: int) -> list[timedelta]:
        rng = random.Random(seed)
        given = {"strategy": Strategy.ADAPTIVE, "base_ms": 1_000, "cap_ms": 300_000}
        return [
            delay(3, jitter=Jitter.FULL, rng=rng, recent_failures=9, **given)  # type: ignore[arg-type]
            for _ in range(50)
        ]

    assert waits(7) == waits(7) != waits(8)
    assert timedelta() <= min(waits(7)) < max(waits(7)) <= timedelta(seconds=40)
    assert max(waits(7)) > timedelta(seconds=4)  # what it would be at most if nothing else failed


def test_a_class_has_its_own_words_and_the_policy_says_the_rest() -> None:
    policy = RetryPolicy.model_validate(
        {"base_ms": 500, "per_class": {"timeout": {"strategy": "fixed", "base_ms": 60_000}}}
    )

    own, common = policy.waits(ErrorClass.TIMEOUT), policy.waits(ErrorClass.TRANSIENT)

    assert (own.strategy, own.base_ms, own.cap_ms) == (Strategy.FIXED, 60_000, 300_000)
    assert (common.strategy, common.base_ms) == (Strategy.EXPONENTIAL, 500)


@pytest.mark.parametrize(
    ("per_class", "retried"),
    [
        ({}, {"timeout": 3, "unknown": 0}),
        ({"timeout": {"max_retries": 1}}, {"timeout": 1, "unknown": 0}),
        ({"timeout": {"max_retries": 0}}, {"timeout": 0, "transient": 3}),
        ({"unknown": {"max_retries": 2}}, {"unknown": 2, "timeout": 3}),
        ({"unknown": {"base_ms": 5}}, {"unknown": 0}),
    ],
)
def test_a_class_may_say_how_often_it_is_retried(
    per_class: dict[str, object], retried: dict[str, int]
) -> None:
    policy = RetryPolicy.model_validate({"per_class": per_class})

    assert {
        name: sum(policy.tries_again(ErrorClass(name), failed=failed) for failed in (1, 2, 3))
        for name in retried
    } == retried


def test_a_policy_is_stored_with_what_was_said_about_classes_and_nothing_else() -> None:
    said = {"timeout": {"max_retries": 1, "strategy": "adaptive"}}

    stored = RetryPolicy.model_validate({"per_class": said}).model_dump(mode="json")

    assert stored["per_class"] == said
    assert RetryPolicy.model_validate(stored).model_dump(mode="json") == stored
    assert "per_class" not in RetryPolicy().model_dump(mode="json")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"often": {}}, "often"),
        ({"timeout": {"max_retries": -1}}, "max_retries"),
        ({"timeout": {"strategy": "fibonacci"}}, "strategy"),
        ({"timeout": {"retries": 1}}, "retries"),
        ({"timeout": {"max_retries": 4}}, "timeout.max_retries is 4"),
        ({"timeout": 3}, "timeout"),
    ],
)
def test_wrong_words_about_a_class_are_refused_and_named(
    wrong: dict[str, object], named: str
) -> None:
    with pytest.raises(ValidationError, match=named):
        RetryPolicy.model_validate({"max_retries": 3, "per_class": wrong})
