"""What a call of an execution says about its endpoint, and how long a refused one stays away. Pure.

Not every failed execution is its endpoint's fault: what counts is whether the endpoint can be
reached and answers. Any answer below 500 says it does, also one that refuses the caller (4xx) or
asks for patience (429): that is obeyed by the execution that got it, through its Retry-After.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from errors_app.taxonomy import ErrorClass, JobExecutionError

FAULTS: Final = frozenset({ErrorClass.TRANSIENT, ErrorClass.TIMEOUT})
PATIENCE_MS: Final = 4_900  # what is left to the call of one who waits for 5 s


class Verdict(StrEnum):
    """What a call says about its endpoint; `NONE`: nothing, for a reason of the caller's own."""

    SUCCESS = "success"
    FAILURE = "failure"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a breaker opens, and for how long.

    `patience_ms`: whoever gave up sooner says nothing. Many call an endpoint, and one of them who
    waits for a millisecond must not keep it from the others.
    """

    consecutive_failures: int = 5
    failure_rate: float = 0.5
    min_calls: int = 20
    window_ms: int = 60_000
    cooldown_ms: int = 30_000
    cooldown_most_ms: int = 600_000
    patience_ms: int = PATIENCE_MS


def verdict(
    status: int | None,
    error: BaseException | None,
    *,
    waited_ms: float,
    rules: Rules,
    expected: frozenset[int] = frozenset(),
) -> Verdict:
    """What a call that ended with `error`, or with an answer of `status`, says of its endpoint.

    `expected`: statuses from 500 on that the caller counts as success.
    """
    if isinstance(error, JobExecutionError) and error.error_class in FAULTS:
        gave_up_soon = error.error_class is ErrorClass.TIMEOUT and waited_ms < rules.patience_ms
        return Verdict.NONE if gave_up_soon else Verdict.FAILURE
    if status is None:
        return Verdict.NONE
    is_failure = status >= 500 and status not in expected
    return Verdict.FAILURE if is_failure else Verdict.SUCCESS


def away_seconds(wait: float, *, rules: Rules, rng: random.Random) -> float:
    """For how long a refused execution stays away, where the next probe may go in `wait` seconds.

    Spread over another cooldown: of a thousand that were refused together, no two come back
    together, and few of them while the probe is still out.
    """
    return wait + rng.uniform(0, rules.cooldown_ms / 1000)
