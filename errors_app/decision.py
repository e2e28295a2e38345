"""Says whether a failed attempt of an execution is followed by another, and when. Pure.

`recovery` records what this decides and carries it out, on every path alike: an outcome, a lost
worker, a worker that was told to stop.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from errors_app import backoff
from errors_app.backoff import RetryPolicy
from errors_app.taxonomy import Classified, Severity

MOST_LOST: Final = 3  # whatever the policy says: what kills its worker stops all work beside it


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at `due_at`."""

    due_at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt; `reason` in words for the error record, and how bad that is at least."""

    reason: str
    severity: Severity = Severity.HIGH


Decision = RetryAt | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is known beside this failure.

    `lost`: how many attempts of this budget took their worker with them, and `of_class`: how many
    failed with this class, this one included. `recent_failures`: of others of the same schedule.
    """

    lost: int = 0
    of_class: int = 1
    recent_failures: int = 0


ALONE: Final = Past()


def decide(
    failure: Classified,
    *,
    attempt: int,
    max_attempts: int,
    policy: RetryPolicy,
    now: datetime,
    rng: random.Random,
    past: Past = ALONE,
) -> Decision:
    """Whether attempt number `attempt` (from 1) is followed by another, and when.

    A server's Retry-After is a floor under the backoff, bounded by the policy's cap. What may still
    run of this attempt is a floor that nothing bounds: two attempts never overlap.
    """
    refused = _refused(
        failure, attempt=attempt, max_attempts=max_attempts, policy=policy, past=past
    )
    if refused is not None:
        return refused
    waits = policy.waits(failure.error_class)
    wait = backoff.delay(
        attempt,
        strategy=waits.strategy,
        base_ms=waits.base_ms,
        cap_ms=waits.cap_ms,
        jitter=waits.jitter,
        rng=rng,
        recent_failures=past.recent_failures,
    )
    if failure.retry_after is not None:
        asked = timedelta(seconds=min(failure.retry_after, waits.cap_ms / 1000))
        wait = max(wait, asked)
    if failure.not_before is not None:
        wait = max(wait, timedelta(seconds=failure.not_before))
    return RetryAt(now + wait)


def _refused(
    failure: Classified, *, attempt: int, max_attempts: int, policy: RetryPolicy, past: Past
) -> GiveUp | None:
    if past.lost >= MOST_LOST:
        # Before all else: a person has to hear of it, however small its budget was.
        return GiveUp(
            f"its worker was lost in {past.lost} attempts: the work itself may be the cause",
            Severity.CRITICAL,
        )
    if attempt >= max_attempts:
        return GiveUp(f"all {max_attempts} attempts are used up")
    if (harm := _harm(failure)) is not None:
        return GiveUp(harm)
    named = failure.error_class
    if not policy.tries_again(named, failed=past.of_class):
        if past.of_class > 1:
            return GiveUp(f"the retries after errors of class {named.value!r} are used up")
        return GiveUp(f"errors of class {named.value!r} are not retried")
    return None


def _harm(failure: Classified) -> str | None:
    """What would be wrong with another attempt, however many are left."""
    if failure.not_before == math.inf:
        return "it did not stop and may still run: another attempt would run beside it"
    if failure.may_repeat is False:
        return (
            "it may have had its effect, and is not marked idempotent: a second attempt might "
            "have it twice"
        )
    return None
