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
