"""Says how long a failed execution waits before its next attempt. Pure: no clock, no state.

Full jitter as in "Exponential Backoff And Jitter" (M. Brooker, 2015): of everything that failed
together, no two come back together.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from errors_app.taxonomy import RETRYABLE, ErrorClass

LONGEST_WAIT_MS: Final = 30 * 24 * 3600 * 1000


class Strategy(StrEnum):
    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"
    ADAPTIVE = "adaptive"


class Jitter(StrEnum):
    FULL = "full"
    NONE = "none"


Wait = Annotated[int, Field(ge=1, le=LONGEST_WAIT_MS, description="milliseconds")]
Retries = Annotated[int, Field(ge=0, le=100)]


class ClassPolicy(BaseModel):
    """What differs for errors of one class; the policy's own words say the rest.

    `max_retries`: how many errors of this class may be followed by another attempt within one
    budget, whether or not `retryable_classes` names the class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_retries: Retries | None = None
    strategy: Strategy | None = None
    base_ms: Wait | None = None
    cap_ms: Wait | None = None
    jitter: Jitter | None = None


class RetryPolicy(BaseModel):
    """How often, after what and how far apart an execution is tried again.

    `max_retries` bounds the attempts of all causes together; `per_class` says what errors of a
    class do otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_retries: Retries = 3
    strategy: Strategy = Strategy.EXPONENTIAL
    base_ms: Wait = 1_000
    cap_ms: Wait = 300_000
    jitter: Jitter = Jitter.FULL
    retryable_classes: tuple[ErrorClass, ...] = RETRYABLE
    per_class: Mapping[ErrorClass, ClassPolicy] = Field(default_factory=dict)

    @field_validator("per_class")
    @classmethod
    def _within_the_budget(
        cls, value: Mapping[ErrorClass, ClassPolicy], info: ValidationInfo
    ) -> Mapping[ErrorClass, ClassPolicy]:
        most = info.data.get("max_retries")
        for error_class, own in value.items():
            if most is not None and own.max_retries is not None and own.max_retries > most:
                raise ValueError(
                    f"{error_class.value}.max_retries is {own.max_retries}, more than max_retries "
                    f"of all causes together, {most}: raise that"
                )
        return value

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        words: dict[str, Any] = handler(self)
        said = {
            error_class: {name: value for name, value in own.items() if value is not None}
            for error_class, own in words.pop("per_class", {}).items()
        }
        return {**words, "per_class": said} if said else words

    def tries_again(self, error_class: ErrorClass, *, failed: int) -> bool:
        """Whether the error that is the `failed`-th of its class (from 1) may be followed by more.

        The budget of all causes is not looked at.
        """
        most = self.most_of(error_class)
        return error_class in self.retryable_classes if most is None else failed <= most

    def most_of(self, error_class: ErrorClass) -> int | None:
        """How many errors of this class may be followed by more; None: it has no own number."""
        own = self.per_class.get(error_class)
        return None if own is None else own.max_retries

    def waits(self, error_class: ErrorClass) -> Waits:
        """How far apart attempts are after an error of this class."""
        own = self.per_class.get(error_class, ClassPolicy())
        return Waits(
            strategy=own.strategy or self.strategy,
            base_ms=own.base_ms or self.base_ms,
            cap_ms=own.cap_ms or self.cap_ms,
            jitter=own.jitter or self.jitter,
        )

    @classmethod
    def completed(
        cls, given: Mapping[str, Any], *, max_retries: int, base_ms: int, cap_ms: int
    ) -> Self:
        """The policy that `given` names in part, the installation's defaults for the rest.

        Raises pydantic.ValidationError with every problem of `given`.
        """
        defaults = {"max_retries": max_retries, "base_ms": base_ms, "cap_ms": cap_ms}
        return cls.model_validate({**defaults, **given})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How far apart the attempts of an execution are, for one kind of failure."""

    strategy: Strategy
    base_ms: int
    cap_ms: int
    jitter: Jitter


def delay(
    attempt: int,
    *,
    strategy: Strategy,
    base_ms: int,
    cap_ms: int,
    jitter: Jitter,
    rng: random.Random,
    recent_failures: int = 0,
) -> timedelta:
    """The wait after attempt number `attempt` (from 1) failed, never above `cap_ms`.

    With full jitter the wait is drawn evenly from zero to what it would be without.

    `adaptive` is exponential, stretched by `recent_failures`, the failed attempts of others of the
    same schedule that have not come right: base * 2^(attempt - 1) * (1 + recent_failures). So what
    fails alone comes back soon, and however many fail together, they come back at the rate of one.
    """
    if attempt < 1:
        raise ValueError(f"Attempts are counted from 1, not {attempt!r}")
    match strategy:
        case Strategy.EXPONENTIAL:
            wait_ms = _doubled(base_ms, attempt=attempt, cap_ms=cap_ms)
        case Strategy.ADAPTIVE:
            wait_ms = _doubled(base_ms, attempt=attempt, cap_ms=cap_ms) * (1 + recent_failures)
        case Strategy.LINEAR:
            wait_ms = base_ms * attempt
        case Strategy.FIXED:
            wait_ms = base_ms
    wait_ms = min(wait_ms, cap_ms)
    if jitter is Jitter.FULL:
        return timedelta(milliseconds=rng.uniform(0, wait_ms))
    return timedelta(milliseconds=wait_ms)


def _doubled(base_ms: int, *, attempt: int, cap_ms: int) -> int:
    # Beyond the cap's own bits every further doubling is above the cap as well.
    return base_ms << min(attempt - 1, cap_ms.bit_length())
