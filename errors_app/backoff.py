"""Says how long a failed execution waits before its next attempt. Pure: no clock, no state.

Full jitter as in "Exponential Backoff And Jitter" (M. Brooker, 2015): of everything that failed
together, no two come back together.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from errors_app.taxonomy import RETRYABLE, ErrorClass

LONGEST_WAIT_MS: Final = 30 * 24 * 3600 * 1000


class Strategy(StrEnum):
    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"


class Jitter(StrEnum):
    FULL = "full"
    NONE = "none"


Wait = Annotated[int, Field(ge=1, le=LONGEST_WAIT_MS, description="milliseconds")]


class RetryPolicy(BaseModel):
    """How often, after what and how far apart an execution is tried again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    strategy: Strategy = Strategy.EXPONENTIAL
    base_ms: Wait = 1_000
    cap_ms: Wait = 300_000
    jitter: Jitter = Jitter.FULL
    retryable_classes: tuple[ErrorClass, ...] = RETRYABLE

    @classmethod
    def completed(
        cls, given: Mapping[str, Any], *, max_retries: int, base_ms: int, cap_ms: int
    ) -> Self:
        """The policy that `given` names in part, the installation's defaults for the rest.

        Raises pydantic.ValidationError with every problem of `given`.
        """
        defaults = {"max_retries": max_retries, "base_ms": base_ms, "cap_ms": cap_ms}
        return cls.model_validate({**defaults, **given})


def delay(
    attempt: int,
    *,
    strategy: Strategy,
    base_ms: int,
    cap_ms: int,
    jitter: Jitter,
    rng: random.Random,
) -> timedelta:
    """The wait after attempt number `attempt` (from 1) failed, never above `cap_ms`.

    With full jitter the wait is drawn evenly from zero to what it would be without.
    """
    if attempt < 1:
        raise ValueError(f"Attempts are counted from 1, not {attempt!r}")
    match strategy:
        case Strategy.EXPONENTIAL:
            # Beyond the cap's own bits every further doubling is above the cap as well.
            wait_ms = base_ms << min(attempt - 1, cap_ms.bit_length())
        case Strategy.LINEAR:
            wait_ms = base_ms * attempt
        case Strategy.FIXED:
            wait_ms = base_ms
    wait_ms = min(wait_ms, cap_ms)
    if jitter is Jitter.FULL:
        return timedelta(milliseconds=rng.uniform(0, wait_ms))
    return timedelta(milliseconds=wait_ms)
