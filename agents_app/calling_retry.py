"""Whether a step calls its endpoint once more, and when: retries that stay inside one step.

Attempts of the execution are another matter and not decided here. What may have had its effect is
not repeated, unless a person said that it may be.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Final

from pydantic import ConfigDict

from agents_app.clients.statuses import IDEMPOTENT, SAFE
from agents_app.models_objects import SideEffect
from errors_app import backoff
from errors_app.backoff import Retries, RetryPolicy, Strategy, Wait
from errors_app.breakers.refusal import BreakerOpen
from errors_app.taxonomy import ErrorClass, HandlerError

MOST_WAIT_SECONDS: Final = 60.0
"""A step that would wait longer fails instead, and says when to come again: it holds a worker."""
LATELY_SECONDS: Final = 60.0
MOST_KEYS: Final = 10_000


class EndpointRetry(RetryPolicy):
    """`Endpoint.retry`: a retry policy (also `per_class`), and whether a call may be repeated.

    `idempotent`: whether carrying it out twice does no more than once; unless given, its side
    effect and its method say so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_retries: Retries = 2
    strategy: Strategy = Strategy.ADAPTIVE
    base_ms: Wait = 200
    cap_ms: Wait = 10_000
    idempotent: bool | None = None


def may_repeat(method: str, *, side_effect: str, idempotent: bool | None) -> bool:
    """Whether carrying the call out twice does no more than once.

    A GET that is registered as writing is taken at its word: it does not do what RFC 9110 says.
    """
    if idempotent is not None:
        return idempotent
    if side_effect == SideEffect.READ:
        return True
    return method in IDEMPOTENT - SAFE


class Lately:
    """How many calls of an endpoint have failed since the last that went well, in this process."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, float]] = {}
        self._guard = threading.Lock()

    def note(self, key: str, *, failed: bool) -> None:
        """One more call has ended."""
        with self._guard:
            if not failed:
                self._failed.pop(key, None)
                return
            if len(self._failed) >= MOST_KEYS:
                self._failed.clear()
            self._failed[key] = self._count(key) + 1, time.monotonic()

    def count(self, key: str) -> int:
        """Failures in a row; none once the last of them is a minute old."""
        with self._guard:
            return self._count(key)

    def _count(self, key: str) -> int:
        count, at = self._failed.get(key, (0, float("-inf")))
        return count if time.monotonic() - at < LATELY_SECONDS else 0


class Tries:
    """The tries of one call: `wait` says after each failure for how long, or that it was the last.

    `key` names the endpoint in `lately`; `ends` is the step's deadline (monotonic).
    """

    def __init__(
        self, policy: EndpointRetry, *, key: str, ends: float, lately: Lately, rng: random.Random
    ) -> None:
        self._policy, self._key, self._ends = policy, key, ends
        self._lately, self._rng = lately, rng
        self._failed: Counter[ErrorClass] = Counter()

    @property
    def made(self) -> int:
        """How many have failed so far."""
        return self._failed.total()

    def wait(self, error: HandlerError, *, is_idempotent: bool) -> float | None:
        """Seconds until the next try; None if there is none."""
        self._failed[error.error_class] += 1
        if isinstance(error, BreakerOpen) or not self._is_worth(error):
            return None
        if not is_idempotent and error.may_repeat is not True:
            return None
        wait = max(self._backoff(error.error_class), error.retry_after or 0.0)
        if wait > MOST_WAIT_SECONDS or time.monotonic() + wait >= self._ends:
            return None
        return wait

    def _is_worth(self, error: HandlerError) -> bool:
        of_class = self._failed[error.error_class]
        return self.made <= self._policy.max_retries and self._policy.tries_again(
            error.error_class, failed=of_class
        )

    def _backoff(self, error_class: ErrorClass) -> float:
        waits = self._policy.waits(error_class)
        of_others = max(0, self._lately.count(self._key) - self.made)
        return backoff.delay(
            self.made,
            strategy=waits.strategy,
            base_ms=waits.base_ms,
            cap_ms=waits.cap_ms,
            jitter=waits.jitter,
            rng=self._rng,
            recent_failures=of_others,
        ).total_seconds()
